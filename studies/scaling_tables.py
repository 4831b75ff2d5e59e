"""What the growth of time and memory comes to: all measurements, exponents in the number of tokens, and crossings."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from gpvit.devices import describe_machine
from studies.report import MARKERS, Column, ResultTable, pixel_axis

Rows = Sequence[Mapping[str, Any]]

QUANTITIES = {"time": "ms", "memory": "memory_mib", "macs": "gmacs"}
"""What grows with the image, and its key in the rows."""

# Allocators that take memory anew for every large tensor pay for it in page faults; these settings change that.
ALLOCATOR_VARIABLES = (
    *("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD"),
    "THP_MEM_ALLOC_ENABLE",
)
_TICKS = (32, 64, 128, 224, 512, 1024, 2048)


def scaling_table(rows: Rows, dtype: str, device: str, rounds: int) -> ResultTable:
    """Return every measurement, as `studies.scaling.measure_scaling` makes them at most so many rounds."""
    columns = [
        Column("what", "block or model"),
        Column("size", "px"),
        Column("tokens", "tokens"),
        Column("gmacs", "GMACs", 2),
        Column("ms", "ms", 1),
        Column("iqr_ms", "IQR", 1),
        Column("runs", "runs"),
        Column("gmacs_per_second", "GMACs/s", 0),
        Column("page_faults", "page faults", 0),
        Column("memory_mib", "MiB", 1),
    ]
    settings = allocator_settings()
    allocator = f"Allocator: `{' '.join(settings)}`." if settings else "The allocator is as the system has it."
    notes = [
        f"{describe_machine()}, {dtype}, {device}, inference, one square image of so many pixels a side. Blocks have "
        "the width and heads of GPViT-L1 and get the tokens of such an image at stride 8.",
        f"Median and interquartile range (IQR) of interleaved rounds, {rounds} at the most: steps of several seconds "
        "are timed less often, and short ones are repeated within a run.",
        "Page faults: pages that the system hands out anew during a step, typically of 4 KiB; memory that the process "
        f"gave back costs this time again. {allocator} MiB: what a step adds at its peak to the resident memory (on a "
        "GPU: to torch's) of a process of its own, which returns freed memory to the system at once where the C "
        "library can.",
    ]
    return ResultTable("scaling", "Time and memory against the size of the image", columns, rows, notes)


def exponents_table(rows: Rows, split: int) -> ResultTable:
    """Return the exponents in the number of tokens, for images up to a side in pixels and beyond."""
    found: list[dict[str, Any]] = []
    for label, series in _series(rows).items():
        for part in _ranges(series, split):
            row: dict[str, Any] = {"what": label, "range": f"{part[0]['size']}-{part[-1]['size']}", "sizes": len(part)}
            for name, key in QUANTITIES.items():
                fit = fit_rows(part, key)
                row |= dict(zip((name, f"{name}_low", f"{name}_high"), fit, strict=True)) if fit else {}
            found.append(row)
    columns = [Column("what", "block or model"), Column("range", "px"), Column("sizes", "sizes")]
    for name in ("time", "memory"):
        columns += [Column(name, name, 2), Column(f"{name}_low", "from", 2), Column(f"{name}_high", "to", 2)]
    columns.append(Column("macs", "MACs", 2))  # of exact figures there is nothing to be uncertain about
    notes = [
        "p of `time ~ tokens^p`, and so of memory and MACs: the slope of the straight line through the logarithms, by "
        "least squares over the medians of the sizes in the range.",
        "From, to: 95 % confidence interval, by Student's t with two degrees of freedom less than sizes. It covers "
        "noise that differs from size to size, and is wide where the growth is no power law. It does not cover what "
        "all sizes share (the machine, its load, the version of a library), and says nothing beyond the range.",
        "The exponent of the MACs is exact arithmetic: a time that grows faster than they do runs less efficiently on "
        "large images. Stripes grow with the side of the image, and with them the MACs of a local block's attention as "
        "tokens^1.5; its other MACs grow as tokens^1.",
    ]
    return ResultTable("exponents", "Exponents in the number of tokens", columns, found, notes)


def crossings_table(rows: Rows) -> ResultTable:
    """Return the sizes from which on models cost more than the first one in the rows."""
    (reference, first), *others = _series(rows).items()
    found = [
        {"what": label, **{name: _crossing(series, first, key) for name, key in QUANTITIES.items()}}
        for label, series in others
    ]
    columns = [Column("what", "model"), Column("time", "slower from"), Column("memory", "more memory from")]
    columns.append(Column("macs", "more MACs from"))
    notes = [
        "The side of the image in pixels, interpolated in the logarithms between two sizes measured, from which on the "
        f"model costs more than {reference} at all larger sizes measured."
    ]
    title = f"Where plain transformers come to cost more than {reference}"
    return ResultTable("crossings", title, columns, found, notes)


def allocator_settings() -> list[str]:
    """Return what the environment tells the C library's allocator, as a shell would set it before a command."""
    return [f"{name}={os.environ[name]}" for name in ALLOCATOR_VARIABLES if os.environ.get(name)]


def fit_rows(rows: Rows, key: str) -> tuple[float, float | None, float | None] | None:
    """Fit the exponent of a quantity in the tokens over the rows that have it."""
    known = [(row["tokens"], row[key]) for row in rows if row.get(key)]
    return fit_exponent(*zip(*known, strict=True)) if known else None


def fit_exponent(
    tokens: Sequence[float], values: Sequence[float], confidence: float = 0.95
) -> tuple[float, float | None, float | None] | None:
    """Fit a power law by least squares in the logarithms.

    The interval is Student's, with two degrees of freedom less than points: it takes the points' distances from the
    line for independent noise of one size. It covers noise, and warns of a curve that is no power law, as such a curve
    widens it. It does not cover what all points share, nor says anything beyond the range of the points.

    Args:
        tokens: Where was measured.
        values: What; the same number, and positive.
        confidence: Share of such intervals that hold the true exponent.

    Returns:
        The exponent and the ends of its interval, which three points or more have; None for fewer than two points.
    """
    if len(tokens) < 2:
        return None
    line = stats.linregress(np.log(tokens), np.log(values))
    if len(tokens) < 3:
        return float(line.slope), None, None
    margin = stats.t.ppf((1 + confidence) / 2, len(tokens) - 2) * line.stderr
    return float(line.slope), float(line.slope - margin), float(line.slope + margin)


def crossing(sizes: Sequence[float], values: Sequence[float], reference: Sequence[float]) -> float | None:
    """Return the size from which on values are greater than a reference, interpolated in the logarithms.

    Args:
        sizes: Where both were measured, growing and positive.
        values: One for each size, positive.
        reference: As many, positive.

    Returns:
        The size; the first one if values are greater everywhere, and None if they are not at the last.
    """
    ratio = np.log(values) - np.log(reference)
    if not len(ratio) or ratio[-1] <= 0:
        return None
    below = np.flatnonzero(ratio <= 0)
    if not len(below):
        return float(sizes[0])
    i = below[-1]
    return float(np.exp(np.interp(0, ratio[i : i + 2], np.log(sizes[i : i + 2]))))


def _series(rows: Rows) -> dict[str, list[Mapping[str, Any]]]:
    """Sort the rows that were measured by what they are of."""
    series: dict[str, list[Mapping[str, Any]]] = {row["what"]: [] for row in rows}
    for row in rows:
        if not isinstance(row["ms"], str):
            series[row["what"]].append(row)
    return series


def _ranges(rows: Rows, split: int) -> list[Rows]:
    """Divide sizes into small and large ones; the first of the large ones ends the small ones, too."""
    small = sum(row["size"] <= split for row in rows)
    return [part for part in (rows[: small + 1], rows[small:]) if len(part) > 1]


def _crossing(rows: Rows, reference: Rows, key: str) -> str:
    """Say from which size on a series costs more than the reference; both were measured from the same size on."""
    pairs = zip(rows, reference, strict=False)
    known = [(ours["size"], ours[key], theirs[key]) for ours, theirs in pairs if ours.get(key) and theirs.get(key)]
    if not known:
        return "not measured"
    sizes, values, references = zip(*known, strict=True)
    size = crossing(sizes, values, references)
    if size is None:
        return f"never up to {sizes[-1]} px"
    return f"{size:.0f} px" if size > sizes[0] else f"everywhere from {sizes[0]} px"


def draw_scaling(figure: Figure, panels: Mapping[str, Rows], split: int) -> None:
    """Draw time and memory on logarithmic axes, where a power law is a line.

    Args:
        figure: Empty.
        panels: Title and rows of each column of panels.
        split: Side in pixels; the legend gives the exponents of larger images.
    """
    figure.set_size_inches(5.2 * len(panels), 8.4)
    axes = {"time": "time (ms)", "memory": "peak memory over idle (MiB)"}
    grid = figure.subplots(len(axes), len(panels), squeeze=False, sharex=True)
    for (name, label), line in zip(axes.items(), grid, strict=True):
        for (title, rows), cell in zip(panels.items(), line, strict=True):
            _draw_panel(cell, rows, QUANTITIES[name], split)
            cell.set_title(f"{title}: {name}")
            cell.set_ylabel(label)
    for row in grid[:-1]:
        for cell in row:
            cell.set_xlabel("")


def _draw_panel(axes: Axes, rows: Rows, key: str, split: int) -> None:
    for (label, series), marker in zip(_series(rows).items(), MARKERS, strict=False):
        if known := [(row["size"], row[key]) for row in series if row.get(key) is not None]:
            above = [part for part in _ranges(series, split) if part[0]["size"] > split]
            fit = fit_rows(above[0], key) if above else None
            exponent = f" ({fit[0]:.2f})" if fit else ""
            axes.plot(*zip(*known, strict=True), marker=marker, ls="-", ms=4, label=f"{label}{exponent}")
    pixel_axis(axes, _TICKS, "side of the image (px)")
    axes.set_yscale("log")
    if axes.lines:
        axes.legend(fontsize=8, loc="upper left", title=f"exponent in tokens above {split} px", title_fontsize=8)
