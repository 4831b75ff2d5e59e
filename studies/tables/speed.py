"""Table 10: how fast GPViT is beside plain vision transformers of its width and depth."""

from collections.abc import Mapping
from typing import Any

from gpvit.profile.benchmark import Report, benchmark
from gpvit.profile.measurement import Measurement
from gpvit.profile.workload import Case, Precision
from gpvit.zoo.timm_models import HEADS, PATCHES
from studies.command import command_line
from studies.tables.counting import count_by_name
from studies.tables.published import load_published
from studies.tables.table import OUT_OF_MEMORY, Column, ResultTable

SIZES = ((224, 224), (800, 1280), (512, 2048))
"""Of a classifier's images, of COCO's and of ADE20K's: height and width in pixels."""

WIDTHS = dict(zip(("gpvit_l1", "gpvit_l2", "gpvit_l3", "gpvit_l4"), HEADS, strict=True))

PATIENCE = 20.0
"""Seconds after which a model is not run again: ViT-P8 takes a minute a step on two cores."""

COLUMNS = (
    Column("model", "model"),
    Column("size", "size"),
    Column("gmacs", "GMACs", 1),
    Column("median_ms", "ms", 1),
    Column("iqr_ms", "IQR", 1),
    Column("runs", "runs"),
    Column("memory_mib", "MiB", 0),
    Column("time_ratio", "x time of GPViT", 2),
    Column("memory_ratio", "x memory of GPViT", 2),
    Column("published_ms", "published ms"),
)


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
    models = {"gpvit_nano": ["vit_d216_p16"]} if quick else {name: _vits(width) for name, width in WIDTHS.items()}
    cases = [
        Case(model, size, batch_size=1, dtype=dtype, device=device, baseline=gpvit)
        for size in (((64, 64),) if quick else SIZES)
        for gpvit, vits in models.items()
        for model in (gpvit, *vits)
    ]
    report = benchmark(cases, 1 if quick else rounds, warmup=1, memory=not quick, progress=progress, patience=PATIENCE)
    return ResultTable(
        name="table_10",
        title="Table 10: time and memory of one image",
        columns=COLUMNS,
        rows=[_cells(measurement, row) for measurement, row in zip(report.measurements, report.rows(), strict=True)],
        notes=_notes(report),
        command=command_line(
            ["gpvit", "table", "10"], speed_table, quick=quick, rounds=rounds, device=device, dtype=dtype
        ),
    )


def _vits(width: int) -> list[str]:
    return [f"vit_d{width}_p{patch}" for patch in PATCHES]


def _cells(measurement: Measurement, row: Mapping[str, Any]) -> dict[str, Any]:
    published = load_published().rows("table10").get(measurement.case.model)
    cells = {column.key: row.get(column.key) for column in COLUMNS}
    cells["gmacs"] = count_by_name(measurement.case.model, measurement.case.size).macs / 1e9
    cells["median_ms"] = OUT_OF_MEMORY if measurement.out_of_memory else measurement.median_ms
    cells["published_ms"] = published.figures.get(f"ms_{row['size']}") if published else None
    return cells


def _notes(report: Report) -> list[str]:
    published, case = load_published(), report.measurements[0].case
    return [
        f"{report.machine}; {case.device}, {case.dtype}, eager; whole classifiers with fresh weights, one image.",
        f"ms: median of the runs, at most {report.rounds}, in interleaved rounds after {report.warmup} warm-up step;"
        " IQR: their interquartile range; MiB: peak memory of a fresh process over the idle one; x: multiple of what"
        " the GPViT of the same width takes.",
        *filter(None, [report.impatience]),
        "Published are milliseconds on an RTX 2080 Ti, of which the paper's text names two; it finds that "
        f"{published.findings['table10']}",
    ]
