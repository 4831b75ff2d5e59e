"""GPViT beside the field's usual backbones, which timm has: time, memory, MACs and published accuracy."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from gpvit.profile.benchmark import Report, benchmark
from gpvit.profile.measurement import Measurement
from gpvit.profile.workload import Case, Precision, check, format_size
from gpvit.zoo.catalog import MODELS
from studies.command import command_line
from studies.tables.counting import COUNTED, count_by_name, counted_cells
from studies.tables.model_rows import legend
from studies.tables.published import load_published
from studies.tables.table import OUT_OF_MEMORY, Column, ResultTable

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

SIZES = ((224, 224), (512, 512), (800, 1280))
PIXELS = {"cpu": 8 * 224 * 224, "cuda": 64 * 224 * 224}
"""Of a step, by device: enough to occupy it; an image that is larger than that is a step of its own."""

PATIENCE = 60.0

COLUMNS = (
    Column("model", "model"),
    Column("size", "size"),
    Column("kernels", "kernels"),
    *COUNTED[:2],
    Column("batch_size", "batch"),
    Column("median_ms", "ms", 1),
    Column("iqr_ms", "IQR", 1),
    Column("runs", "runs"),
    Column("images_per_second", "images/s", 2),
    Column("memory_mib", "MiB", 0),
    Column("top1", "top-1 (%)", 1),
    Column("remark", "its source"),
)


def measure_peers(
    models: Sequence[str] = tuple(PEERS),
    sizes: Sequence[tuple[int, int]] = SIZES,
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
    precision = dtype or ("float32" if kind == "cpu" else "bfloat16")
    budget = PIXELS.get(kind, PIXELS["cuda"])
    cases = [
        Case(model, size, max(1, budget // (size[0] * size[1])), compiled=compiled, dtype=precision, device=device)
        for size in sizes
        for compiled in ((False,) if kind == "cpu" else (False, True))
        for model in models
    ]
    for case in cases:
        check(case)
    counted = {(model, size): _count(model, size) for size in sizes for model in models}
    possible = [case for case in cases if not isinstance(counted[case.model, case.size], str)]
    if not possible:
        raise ValueError(f"{'; '.join(map(str, counted.values()))}: name a size that one of {', '.join(models)} takes")
    report = benchmark(possible, rounds, warmup, memory, progress, PATIENCE)
    measured = {measurement.case: measurement for measurement in report.measurements}
    rows = [_cells(case, counted[case.model, case.size], measured.get(case)) for case in cases]
    words = ["gpvit", "benchmark", *([] if tuple(models) == tuple(PEERS) else models), "--suite", "peers"]
    words += [] if tuple(sizes) == SIZES else ["--size", ",".join(map(format_size, sizes))]
    words += [] if memory else ["--no-memory"]
    return ResultTable(
        "peers",
        "GPViT beside other backbones",
        COLUMNS,
        rows,
        _notes(report, rows),
        command_line(words, measure_peers, rounds=rounds, warmup=warmup, device=device, dtype=dtype),
    )


def _count(model: str, size: tuple[int, int]) -> dict[str, float] | str:
    """Count a model at a size, which is also a quick way to tell that it cannot take it, and why."""
    try:
        return counted_cells(count_by_name(model, size))
    except (AssertionError, RuntimeError, ValueError) as error:  # timm's models say it in their own ways
        return f"not for {format_size(size)}: {str(error).strip().partition(chr(10))[0]}"


def _cells(case: Case, counted: dict[str, float] | str, measurement: Measurement | None) -> dict[str, Any]:
    top1, remark = published_top1(case.model)
    cells: dict[str, Any] = {
        "model": PEERS.get(case.model, case.model),
        "size": format_size(case.size),
        "kernels": "compiled" if case.compiled else "eager",
        "batch_size": case.batch_size,
        "top1": top1,
        "remark": remark,
    }
    if isinstance(counted, str) or measurement is None:
        return cells | {"median_ms": counted}
    cells |= {column.key: counted[column.key] for column in COUNTED[:2]}
    cells |= {key: getattr(measurement, key) for key in ("iqr_ms", "runs", "images_per_second", "memory_mib")}
    return cells | {"median_ms": OUT_OF_MEMORY if measurement.out_of_memory else measurement.median_ms}


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
            return row.figures["top1"], "; ".join(filter(None, [row.source, row.note]))
    return None, ""


def _notes(report: Report, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    cases = [measurement.case for measurement in report.measurements]
    names = (f"{PEERS[name]} {name}" for name in dict.fromkeys(case.model for case in cases) if name in PEERS)
    return [
        f"{report.machine}; {cases[0].device}, {cases[0].dtype}; whole classifiers with fresh weights.",
        f"ms: median time of a step of `batch` images in the runs, at most {report.rounds}, in interleaved rounds after"
        f" {report.warmup} warm-up steps; IQR: their interquartile range; MiB: peak memory of a fresh process over the"
        " idle one; GMACs: of one image, attention's products included.",
        *filter(None, [report.impatience]),
        "timm's models are built for the size: position embeddings are made for it, Swin pads to whole windows."
        " top-1 is the published accuracy on ImageNet-1k at 224x224, also beside other sizes, whose time is that of a"
        " backbone for dense tasks; an empty cell is a figure that was not found.",
        f"timm's names: {', '.join(names)}.",
        legend(rows),
    ]
