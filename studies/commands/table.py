"""The verb `gpvit table`."""

from rich.console import Console

from gpvit.profile.workload import Precision
from studies.tables import build_table


def table(
    number: str,
    quick: bool = False,
    out: str = "results",
    rounds: int | None = None,
    device: str | None = None,
    dtype: Precision | None = None,
) -> None:
    """Print and write one of the paper's tables, our figures beside the published ones.

    Args:
        number: 1 to 10, or `design` for what else the released code chose. Only table 10 measures; the others count.
        quick: A few rows of the smallest models, for a first look.
        out: Folder for table_NUMBER.md and table_NUMBER.csv.
        rounds: Of table 10, how often each case is timed.
        device: Of table 10, `cpu` or `cuda`.
        dtype: Of table 10, the precision; bfloat16 is autocast over float32 weights.
    """
    result = build_table(number, quick, rounds=rounds, device=device, dtype=dtype, progress=True)
    Console().print(result)
    for path in result.write(out):
        print(path)
