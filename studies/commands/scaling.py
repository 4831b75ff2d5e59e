"""The verb `gpvit scaling`."""

from rich.console import Console

from gpvit.devices import choose_device
from gpvit.profile.workload import Precision
from studies.command import command_line
from studies.scaling.drawing import draw_scaling
from studies.scaling.measuring import QUICK_SIZES, SIZES, measure_scaling
from studies.scaling.results import allocator_settings, crossings_table, exponents_table, scaling_table
from studies.scaling.subjects import BLOCKS, MODELS, QUICK_MODELS


def scaling(
    out: str = "results",
    blocks_only: bool = False,
    rounds: int = 5,
    device: str = "cpu",
    dtype: Precision = "float32",
    patience: float = 45.0,
    quick: bool = False,
) -> None:
    """Measure how time and peak memory grow with the image, for each kind of block and for whole models.

    Writes the tables scaling (all measurements), exponents (of time and memory in the number of tokens, with their
    confidence intervals) and crossings (from which size on plain transformers cost more than GPViT-L1), and a chart.

    Args:
        out: Folder for the tables and the chart.
        blocks_only: Leave the models out.
        rounds: How often each case is timed.
        device: `cpu` or `cuda`.
        dtype: Precision; bfloat16 is autocast over float32 weights.
        patience: Seconds; a series ends before a step that is expected to take longer.
        quick: Small images, gpvit_nano in place of GPViT-L1 and one round, for a first look; the figures mean little.
    """
    choose_device(device)
    sizes, split = (QUICK_SIZES, QUICK_SIZES[0]) if quick else (SIZES, 512)
    models = () if blocks_only else QUICK_MODELS if quick else MODELS
    series = measure_scaling([*BLOCKS, *models], sizes, 1 if quick else rounds, patience, dtype, device, progress=True)
    blocks, others = series[: len(BLOCKS)], series[len(BLOCKS) :]
    options = {"rounds": rounds, "device": device, "dtype": dtype, "patience": patience, "quick": quick}
    command = command_line([*allocator_settings(), "gpvit", "scaling"], scaling, blocks_only=blocks_only, **options)
    tables = [scaling_table(series, dtype, device, rounds, command), exponents_table(series, split, command)]
    if others:
        tables.append(crossings_table(others, command))
    for table in tables:
        Console().print(table)
    chart = draw_scaling({"blocks": blocks, "models": others} if others else {"blocks": blocks}, split, out)
    for path in [*(path for table in tables for path in table.write(out)), *chart]:
        print(path)
