"""What was measured, and the exponents and crossings that follow, as tables."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from gpvit.devices import describe_machine
from gpvit.profile.workload import Precision
from studies.scaling.fitting import Exponent, crossing, fit_exponent
from studies.scaling.measuring import Sample, Series
from studies.tables.table import Column, ResultTable

MIB = 2**20

# Allocators that take memory anew for every large tensor pay for it in page faults; these settings change that.
ALLOCATOR_VARIABLES = (
    *("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD"),
    "THP_MEM_ALLOC_ENABLE",
)

Quantity = Callable[[Sample], float | None]

QUANTITIES: dict[str, Quantity] = {
    "time": lambda sample: sample.median,
    "memory": lambda sample: sample.memory or None,
    "macs": lambda sample: sample.macs,
}
"""What grows with the image; None where it was not told."""


def scaling_table(series: Sequence[Series], dtype: Precision, device: str, rounds: int, command: str) -> ResultTable:
    """Return every measurement.

    Args:
        series: What was measured.
        dtype: Precision.
        device: Where.
        rounds: How many were asked for.
        command: What makes it again.
    """
    rows: list[dict[str, Any]] = []
    for one in series:
        rows += [_measured(one.subject.label, sample) for sample in one.samples]
        if one.end is not None:
            rows.append({"what": one.subject.label, "size": one.end[0], "ms": one.end[1]})
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
    notes = [
        f"{describe_machine()}, {dtype}, {device}, inference, one square image of so many pixels a side. Blocks have "
        "the width and heads of GPViT-L1 and get the tokens of such an image at stride 8.",
        f"Median and interquartile range (IQR) of interleaved rounds, {rounds} at the most: steps of several seconds "
        "are timed less often, and short ones are repeated within a run.",
        "Page faults: pages that the system hands out anew during a step, typically of 4 KiB; memory that the process "
        "gave back costs this time again. "
        + _allocator_note()
        + " MiB: what a step adds at its peak to the resident memory (on a GPU: to torch's) of a process of its own, "
        "which returns freed memory to the system at once where the C library can.",
    ]
    return ResultTable("scaling", "Time and memory against the size of the image", columns, rows, notes, command)


def exponents_table(series: Sequence[Series], split: int, command: str) -> ResultTable:
    """Return the exponents in the number of tokens, for small and for large images.

    Args:
        series: What was measured.
        split: Side in pixels; large images are larger, small ones go on to the first of those.
        command: What makes it again.
    """
    rows: list[dict[str, Any]] = []
    for one in series:
        for samples in ranges(one.samples, split):
            row: dict[str, Any] = {
                "what": one.subject.label,
                "range": f"{samples[0].size}-{samples[-1].size}",
                "sizes": len(samples),
            }
            for name, quantity in QUANTITIES.items():
                fit = fit_samples(samples, quantity)
                if fit is not None:
                    row[name] = fit.value
                if fit is not None and name != "macs":  # of exact figures there is nothing to be uncertain about
                    row |= {f"{name}_low": fit.low, f"{name}_high": fit.high}
            rows.append(row)
    columns = [Column("what", "block or model"), Column("range", "px"), Column("sizes", "sizes")]
    for name, header in (("time", "time"), ("memory", "memory")):
        columns += [Column(name, header, 2), Column(f"{name}_low", "from", 2), Column(f"{name}_high", "to", 2)]
    columns.append(Column("macs", "MACs", 2))
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
    return ResultTable("exponents", "Exponents in the number of tokens", columns, rows, notes, command)


def crossings_table(series: Sequence[Series], command: str) -> ResultTable:
    """Return the sizes from which on models cost more than the first one.

    Args:
        series: Of models; the first is what the others are compared with.
        command: What makes it again.
    """
    reference, *others = series
    rows = []
    for other in others:
        crossings = {name: _crossing(other, reference, quantity) for name, quantity in QUANTITIES.items()}
        rows.append({"what": other.subject.label, **crossings})
    columns = [Column("what", "model"), Column("time", "slower from"), Column("memory", "more memory from")]
    columns.append(Column("macs", "more MACs from"))
    notes = [
        "The side of the image in pixels, interpolated in the logarithms between two sizes measured, from which on the "
        f"model costs more than {reference.subject.label} at all larger sizes measured."
    ]
    title = f"Where plain transformers come to cost more than {reference.subject.label}"
    return ResultTable("crossings", title, columns, rows, notes, command)


def ranges(samples: Sequence[Sample], split: int) -> list[Sequence[Sample]]:
    """Divide sizes into small and large ones; the first of the large ones ends the small ones, too.

    Args:
        samples: From small to large.
        split: Side in pixels; large ones are larger.
    """
    small = sum(sample.size <= split for sample in samples)
    return [part for part in (samples[: small + 1], samples[small:]) if len(part) > 1]


def fit_samples(samples: Sequence[Sample], quantity: Quantity) -> Exponent | None:
    """Fit the exponent of a quantity over the samples that have it."""
    known = [(sample.tokens, value) for sample in samples if (value := quantity(sample)) is not None]
    return fit_exponent([tokens for tokens, _ in known], [value for _, value in known])


def _measured(label: str, sample: Sample) -> dict[str, Any]:
    return {
        "what": label,
        "size": sample.size,
        "tokens": sample.tokens,
        "gmacs": sample.macs / 1e9,
        "ms": 1e3 * sample.median,
        "iqr_ms": 1e3 * sample.iqr if len(sample.seconds) > 1 else None,
        "runs": len(sample.seconds),
        "gmacs_per_second": sample.macs / sample.median / 1e9,
        "page_faults": sample.page_faults,
        "memory_mib": None if sample.memory is None else sample.memory / MIB,
    }


def _crossing(series: Series, reference: Series, quantity: Quantity) -> str:
    """Say from which size on a series costs more than the reference; both were measured from the same size on."""
    pairs = zip(series.samples, reference.samples, strict=False)
    known = [(ours.size, a, b) for ours, theirs in pairs if (a := quantity(ours)) and (b := quantity(theirs))]
    if not known:
        return "not measured"
    sizes, values, references = zip(*known, strict=True)
    size = crossing(sizes, values, references)
    if size is None:
        return f"never up to {sizes[-1]} px"
    return f"{size:.0f} px" if size > sizes[0] else f"everywhere from {sizes[0]} px"


def allocator_settings() -> list[str]:
    """Return what the environment tells the C library's allocator, as a shell would set it before a command."""
    return [f"{name}={os.environ[name]}" for name in ALLOCATOR_VARIABLES if os.environ.get(name)]


def _allocator_note() -> str:
    settings = allocator_settings()
    return f"Allocator: `{' '.join(settings)}`." if settings else "The allocator is as the system has it."
