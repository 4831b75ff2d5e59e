"""The paper's tables, built again: our figures beside the published ones."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from gpvit.profile.workload import Precision
from studies.tables.block_ablations import ablation_table
from studies.tables.dense import mask_rcnn_table, retinanet_table, segmentation_table
from studies.tables.imagenet import imagenet_table
from studies.tables.table import ResultTable
from studies.tables.variants import variants_table

COUNTED_TABLES: dict[str, Callable[[bool], ResultTable]] = {
    "1": variants_table,
    "2": imagenet_table,
    "3": mask_rcnn_table,
    "4": retinanet_table,
    "5": segmentation_table,
    **{str(number): partial(ablation_table, number) for number in (6, 7, 8, 9, "design")},
}
"""What builds each table whose figures are the same on every machine."""

_MEASURED = "10"


def build_table(
    number: int | str,
    quick: bool = False,
    *,
    rounds: int | None = None,
    device: str | None = None,
    dtype: Precision | None = None,
    progress: bool = False,
) -> ResultTable:
    """Build one of the paper's tables 1 to 10, or ``"design"``: what else the released code chose.

    Args:
        number: Of the table.
        quick: Build a few rows of the smallest models, for a first look.
        rounds: Of table 10, how often each case is timed; None for its default, as with the next two.
        device: Of table 10, ``cpu`` or ``cuda``.
        dtype: Of table 10, ``float32`` or ``bfloat16``.
        progress: Show a progress bar on standard error, of table 10, which takes minutes.

    Raises:
        ValueError: If there is no such table, or it measures nothing and a setting of measurement is given.
    """
    name = str(number)
    settings = {"rounds": rounds, "device": device, "dtype": dtype}
    given: dict[str, Any] = {setting: value for setting, value in settings.items() if value is not None}
    if name == _MEASURED:
        from studies.tables.speed import speed_table

        return speed_table(quick, **given, progress=progress)
    if name not in COUNTED_TABLES:
        raise ValueError(f"no table {name!r}; choose 1 to 10, or design")
    if given:
        named = ", ".join(f"--{setting}" for setting in given)
        raise ValueError(f"table {name} counts and measures nothing; leave out {named}, or choose table {_MEASURED}")
    return replace(COUNTED_TABLES[name](quick), command=f"gpvit table {name}{' --quick' if quick else ''}")
