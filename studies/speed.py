"""Time and memory of GPViT beside other networks: Table 10's plain transformers, and the field's usual backbones."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from gpvit.errors import UserError
from gpvit.profile.benchmark import Report, benchmark
from gpvit.profile.workload import Case, Precision, format_size
from gpvit.zoo.catalog import MODELS
from gpvit.zoo.plain_vits import HEADS, PATCHES
from studies.published import load_published
from studies.report import COLOURS, MARKERS, OUT_OF_MEMORY, Column, ResultTable
from studies.tables import COUNTED, count_by_name, counted_cells

SIZES = ((224, 224), (800, 1280), (512, 2048))
"""Of Table 10: of a classifier's images, of COCO's and of ADE20K's, height and width in pixels."""

WIDTHS = dict(zip(("gpvit_l1", "gpvit_l2", "gpvit_l3", "gpvit_l4"), HEADS, strict=True))
PEER_SIZES = ((224, 224), (512, 512), (800, 1280))
PEERS = {
    "gpvit_l1": "GPViT-L1",
    "gpvit_l2": "GPViT-L2",
    "gpvit_l3": "GPViT-L3",
    "gpvit_l4": "GPViT-L4",
    "swin_tiny_patch4_window7_224": "Swin-T",
    "swin_base_patch4_window7_224": "Swin-B",
    "convnext_tiny": "ConvNeXt-T",
    "convnext_base": "ConvNeXt-B",
    "deit_small_patch16_224": "DeiT-S",
    "vit_small_patch16_224": "ViT-S/16",
    "hiera_tiny_224": "Hiera-T",
    "hiera_base_224": "Hiera-B",
    "hrnet_w32": "HRNet-W32",
}
"""What timm calls the networks, and what their papers do."""

PIXELS = {"cpu": 8 * 224 * 224, "cuda": 64 * 224 * 224}
"""Of a step, by device: enough to occupy it; an image that is larger than that is a step of its own."""

_LIMIT_S, _PEER_LIMIT_S = 20.0, 60.0  # seconds after which a model is not run again: ViT-P8 takes a minute a step
_TIMES = (Column("median_ms", "ms", 1), Column("iqr_ms", "IQR", 1), Column("runs", "runs"))


def speed_table(
    quick: bool = False, rounds: int = 3, device: str = "cpu", dtype: Precision = "float32", progress: bool = False
) -> ResultTable:
    """Measure Table 10: time and memory of one image at three sizes, GPViT beside ViTs with patches of 16 and 8 pixels.

    All of it takes about 13 minutes on two quiet cores: 6 of them for one step of each ViT with patches of 8 pixels
    on the two large sizes, 2.5 for the fresh processes that tell peak memory.

    Args:
        quick: Time the smallest GPViT and the smallest ViT once, on 64 x 64 pixels, and no memory.
        rounds: How often each model is timed; the slowest fewer times, as their runs say.
        device: `cpu` or `cuda`.
        dtype: Precision; bfloat16 is autocast over float32 weights.
        progress: Whether to show a progress bar on standard error.

    Raises:
        ValueError: If there is no such device, or rounds is less than 1.
    """
    vits = {name: [f"vit_d{width}_p{patch}" for patch in PATCHES] for name, width in WIDTHS.items()}
    models = {"gpvit_nano": ["vit_d216_p16"]} if quick else vits
    cases = [
        Case(model, size, batch_size=1, dtype=dtype, device=device, baseline=gpvit)
        for size in (((64, 64),) if quick else SIZES)
        for gpvit, others in models.items()
        for model in (gpvit, *others)
    ]
    report = benchmark(cases, 1 if quick else rounds, 1, not quick, progress, _LIMIT_S)
    published = load_published()
    rows = []
    for row, case in zip(report.rows, cases, strict=True):
        known = published.rows("table10").get(case.model)
        cells = {"gmacs": count_by_name(case.model, case.size).macs / 1e9}
        cells["published_ms"] = known.figures.get(f"ms_{row['size']}") if known else None  # type: ignore[assignment]
        rows.append({**row, **cells, "median_ms": OUT_OF_MEMORY if row["out_of_memory"] else row["median_ms"]})
    columns = [
        *(Column("model", "model"), Column("size", "size"), Column("gmacs", "GMACs", 1), *_TIMES),
        *(Column("memory_mib", "MiB", 0), Column("time_ratio", "x time of GPViT", 2)),
        *(Column("memory_ratio", "x memory of GPViT", 2), Column("published_ms", "published ms")),
    ]
    notes = [
        f"{report.machine}; {device}, {dtype}, eager; whole classifiers with fresh weights, one image.",
        f"ms: median of the runs, at most {report.settings['rounds']}, in interleaved rounds after 1 warm-up step;"
        " IQR: their interquartile range; MiB: peak memory of a fresh process over the idle one; x: multiple of what"
        " the GPViT of the same width takes.",
        *filter(None, report.notes[1:]),
        "Published are milliseconds on an RTX 2080 Ti, of which the paper's text names two; it finds that "
        f"{published.findings['table10']}",
    ]
    return ResultTable("table_10", "Table 10: time and memory of one image", columns, rows, notes)


def measure_peers(
    models: Sequence[str] = tuple(PEERS),
    sizes: Sequence[tuple[int, int]] = PEER_SIZES,
    rounds: int = 3,
    warmup: int = 2,
    device: str = "cpu",
    dtype: Precision | None = None,
    memory: bool = True,
    progress: bool = False,
) -> ResultTable:
    """Measure models side by side at several sizes: eager, and on a GPU compiled as well.

    All of it takes about 10 minutes on two quiet cores.

    Args:
        models: Names of this package or of timm; the usual ones if not given.
        sizes: Image heights and widths in pixels; a model that cannot take one says why in its cell.
        rounds: How often each is timed.
        warmup: Untimed steps of each beforehand.
        device: `cpu` or `cuda`.
        dtype: Precision; float32 on a CPU and bfloat16 on a GPU if not given.
        memory: Whether to measure peak memory, which takes a fresh process for each.
        progress: Whether to show a progress bar on standard error.

    Raises:
        ValueError: If a model or the device does not exist, or none of the models takes any of the sizes.
        FileNotFoundError: If the device is a GPU and there is no compiler.
    """
    kind = torch.device(device).type
    precision: Precision = dtype or ("float32" if kind == "cpu" else "bfloat16")
    budget = PIXELS.get(kind, PIXELS["cuda"])
    cases = [
        Case(model, size, max(1, budget // (size[0] * size[1])), compiled=compiled, dtype=precision, device=device)
        for size in sizes
        for compiled in ((False,) if kind == "cpu" else (False, True))
        for model in models
    ]
    for case in cases:
        case.check()
    counted = {(model, size): _count(model, size) for size in sizes for model in models}
    possible = [case for case in cases if not isinstance(counted[case.model, case.size], str)]
    if not possible:
        raise UserError(f"{'; '.join(map(str, counted.values()))}: name a size that one of {', '.join(models)} takes")
    report = benchmark(possible, rounds, warmup, memory, progress, _PEER_LIMIT_S)
    measured = dict(zip(possible, report.rows, strict=True))
    rows = [_peer_row(case, counted[case.model, case.size], measured.get(case, {})) for case in cases]
    columns = [
        *(Column("model", "model"), Column("size", "size"), Column("kernels", "kernels"), *COUNTED[:2]),
        *(Column("batch_size", "batch"), *_TIMES, Column("images_per_second", "images/s", 2)),
        *(Column("memory_mib", "MiB", 0), Column("top1", "top-1 (%)", 1), Column("remark", "its source")),
    ]
    title, notes = "GPViT beside other backbones", _peer_notes(report, possible, [row["remark"] for row in rows])
    return ResultTable("peers", title, columns, rows, notes)


def _count(model: str, size: tuple[int, int]) -> dict[str, Any] | str:
    """Count a model at a size, which is also a quick way to tell that it cannot take it, and why."""
    try:
        return counted_cells(count_by_name(model, size))
    except (AssertionError, RuntimeError, ValueError) as error:  # timm's models say it in their own ways
        return f"not for {format_size(size)}: {str(error).strip().partition(chr(10))[0]}"


def _peer_row(case: Case, counted: dict[str, Any] | str, measured: Mapping[str, Any]) -> dict[str, Any]:
    top1, remark = published_top1(case.model)
    cells = {"model": PEERS.get(case.model, case.model), "size": format_size(case.size), "batch_size": case.batch_size}
    cells |= {"kernels": "compiled" if case.compiled else "eager", "top1": top1, "remark": remark}
    if isinstance(counted, str):
        return cells | {"median_ms": counted}
    milliseconds = OUT_OF_MEMORY if measured["out_of_memory"] else measured["median_ms"]
    return {**measured, **counted, **cells, "median_ms": milliseconds}


def published_top1(model: str) -> tuple[float | None, str]:
    """Look up a published accuracy on ImageNet-1k at 224 x 224.

    Args:
        model: Name of this package or of timm.

    Returns:
        Top-1 accuracy in percent, or None, and the name of its source, with a remark.
    """
    weights = MODELS[model].weights if model in MODELS else {}
    if "in1k" in weights:
        return weights["in1k"].metrics["top1"], "readme"
    published = load_published()
    for row in (*published.rows("table2").values(), *published.rows("peers").values()):
        if row.model == model and "top1" in row.figures:
            return row.figures["top1"], row.remark
    return None, ""


def _peer_notes(report: Report, cases: Sequence[Case], remarks: Sequence[str]) -> list[str]:
    names = (f"{PEERS[name]} {name}" for name in dict.fromkeys(case.model for case in cases) if name in PEERS)
    return [
        f"{report.machine}; {cases[0].device}, {cases[0].dtype}; whole classifiers with fresh weights.",
        f"ms: median time of a step of `batch` images in the runs, at most {report.settings['rounds']}, in interleaved"
        f" rounds after {report.settings['warmup']} warm-up steps; IQR: their interquartile range; MiB: peak memory of"
        " a fresh process over the idle one; GMACs: of one image, attention's products included.",
        *filter(None, report.notes[1:]),
        "timm's models are built for the size: position embeddings are made for it, Swin pads to whole windows."
        " top-1 is the published accuracy on ImageNet-1k at 224x224, also beside other sizes, whose time is that of a"
        " backbone for dense tasks; an empty cell is a figure that was not found.",
        f"timm's names: {', '.join(names)}.",
        load_published().legend(remarks),
    ]


def draw_peers(figure: Figure, table: ResultTable) -> None:
    """Draw published accuracy against time per image, one panel a size; what has not both is left out."""
    sizes = list(dict.fromkeys(row["size"] for row in table.rows))
    kernels = list(dict.fromkeys(row["kernels"] for row in table.rows))
    figure.set_size_inches(1 + 3.6 * len(sizes), 0.6 + 3.4 * len(kernels))
    axes = figure.subplots(len(kernels), len(sizes), sharey=True, squeeze=False)
    for line, kind in zip(axes, kernels, strict=True):
        for axis, size in zip(line, sizes, strict=True):
            _draw_panel(axis, [row for row in table.rows if (row["size"], row["kernels"]) == (size, kind)])
            axis.set_title(size if len(kernels) == 1 else f"{size}, {kind}")
        line[0].set_ylabel("published ImageNet top-1 at 224x224 (%)")
    for axis in axes[-1]:
        axis.set_xlabel("ms per image (log)")


def _draw_panel(axis: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    families: dict[str, list[tuple[float, float, str]]] = {}
    for row in rows:
        if row["top1"] is not None and row.get("images_per_second") is not None:
            point = (1e3 / row["images_per_second"], row["top1"], row["model"])
            families.setdefault(row["model"].partition("-")[0], []).append(point)
    for points, colour, marker in zip(families.values(), COLOURS, MARKERS, strict=False):
        milliseconds, accuracies, _ = zip(*points, strict=True)
        axis.plot(milliseconds, accuracies, color=colour, marker=marker, markersize=5, linewidth=1.2)
        for x, y, label in points:
            # GPViT's labels stand right of its points and all others left of theirs: Swin-B and L2 are neighbours.
            offset, side = ((5, -9), "left") if label.startswith("GPViT") else ((-5, 3), "right")
            axis.annotate(label, (x, y), offset, textcoords="offset points", ha=side, color=colour, fontsize=7.5)
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.margins(x=0.36, y=0.08)
