"""Time and memory of blocks and models from small images to large ones, as far as patience and memory reach."""

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from rich.console import Console
from rich.progress import Progress

from gpvit.profile.workload import Precision
from studies.scaling.first_step import FirstStep, measure_first_step
from studies.scaling.subjects import Subject, forward_step
from studies.tables.table import OUT_OF_MEMORY

SIZES = (224, 336, 448, 560, 672, 784, 1008, 1232, 1568, 2048)
"""Sides in pixels; all but the last make whole windows of 7 x 7 tokens, which are then not padded."""

QUICK_SIZES = (64, 128)

LONG = 2.0  # seconds of a step that needs no warming up
SECONDS_A_CASE = 15.0  # a case is timed no more often than fits in here, but at least twice
SECONDS_A_RUN = 0.05  # shorter steps are repeated for so long, and their mean is a run


@dataclass(frozen=True)
class Sample:
    """What one size took.

    Args:
        size: Side of the image in pixels.
        tokens: Number of tokens.
        macs: Multiply-accumulates of a step.
        seconds: Duration of a step in each run.
        memory: Bytes that a step adds at its peak to an idle process; None where the system does not tell.
        page_faults: Median number of pages of memory that the system handed out anew during a step; None as above.
    """

    size: int
    tokens: int
    macs: int
    seconds: tuple[float, ...]
    memory: int | None
    page_faults: float | None

    @property
    def median(self) -> float:
        """Median duration of a step in seconds."""
        return float(np.median(self.seconds))

    @property
    def iqr(self) -> float:
        """Third less first quartile of the durations in seconds."""
        return float(np.subtract(*np.percentile(self.seconds, [75, 25])))


@dataclass(frozen=True)
class Series:
    """The sizes of one subject.

    Args:
        subject: What was run.
        samples: One for each size reached, from small to large.
        end: The first size that was not reached, and why not; None if all were.
    """

    subject: Subject
    samples: tuple[Sample, ...]
    end: tuple[int, str] | None


@dataclass
class _Run:
    """One size of a subject while it is measured."""

    subject: Subject
    size: int
    macs: int
    first: FirstStep
    step: Callable[[], None]
    turns: int
    seconds: list[float] = field(default_factory=list)
    faults: list[float] = field(default_factory=list)
    failed: bool = False

    def take_turn(self, timed: bool) -> None:
        """Run it for a round, or before the first one to warm up."""
        try:
            if timed and not self.failed:
                self._time()
            elif not self.failed and self.first.seconds < LONG:
                self.step()
        except MemoryError:  # it fitted into a process of its own, but not into this one
            self.failed = True

    def _time(self) -> None:
        repeats = max(1, int(SECONDS_A_RUN / self.first.seconds))
        faults, start = _page_faults(), time.perf_counter()
        for _ in range(repeats):
            self.step()
        self.seconds.append((time.perf_counter() - start) / repeats)
        self.faults.append((_page_faults() - faults) / repeats)


def measure_scaling(
    subjects: Sequence[Subject],
    sizes: Sequence[int] = SIZES,
    rounds: int = 5,
    patience: float = 45.0,
    dtype: Precision = "float32",
    device: str = "cpu",
    progress: bool = False,
) -> list[Series]:
    """Measure subjects at growing sizes; each goes as far as patience and memory reach.

    Memory is that of one step in a process of its own. Time is taken in rounds, of all subjects and sizes in turn,
    after a round that only warms up.

    Args:
        subjects: What to measure.
        sizes: Sides of the images in pixels, multiples of 16, growing.
        rounds: How often each case is timed; long ones less often, but twice unless `rounds` is 1.
        patience: Seconds; a size whose step is expected to take longer ends its series.
        dtype: Precision.
        device: `cpu` or `cuda`.
        progress: Whether to show a progress bar on standard error.

    Raises:
        ValueError: If rounds, patience or sizes are out of range.
    """
    if rounds < 1 or not patience > 0:
        raise ValueError(f"rounds is {rounds} and patience {patience} s; they must be at least 1 and more than 0")
    if not sizes or list(sizes) != sorted(set(sizes)) or min(sizes) < 32 or any(size % 16 for size in sizes):
        raise ValueError(f"sizes are {tuple(sizes)}; give growing multiples of 16 px from 32 on")
    runs: list[_Run] = []
    ends: dict[str, tuple[int, str]] = {}
    with Progress(console=Console(stderr=True), disable=not progress) as bar:
        task = bar.add_task("", total=len(subjects) * len(sizes))
        for subject in subjects:
            module, own = subject.create().to(device), len(runs)
            for size in sizes:
                bar.update(task, description=f"{subject.label}, {size} px: first step", advance=1)
                try:
                    expected = expected_seconds([(run.size, run.first.seconds) for run in runs[own:]], size)
                    if expected > patience:
                        ends[subject.label] = size, f"not run: about {expected:.0f} s expected"
                        break
                    first = measure_first_step(subject, size, dtype, device)
                    step = forward_step(module, subject.inputs(size, device), dtype)
                    macs = subject.macs(module, size)
                    runs.append(_Run(subject, size, macs, first, step, _turns(rounds, first.seconds)))
                except MemoryError:
                    ends[subject.label] = size, OUT_OF_MEMORY
                    break
        bar.reset(task, total=len(runs) + sum(run.turns for run in runs))
        for turn in range(rounds + 1):
            for run in (run for run in runs if turn <= run.turns):
                bar.update(task, description=f"{run.subject.label}, {run.size} px", advance=1)
                run.take_turn(timed=turn > 0)
    return [_series(subject, runs, ends.get(subject.label)) for subject in subjects]


def expected_seconds(timed: Sequence[tuple[int, float]], size: int) -> float:
    """Return how long a step is expected to take, from how its duration grew over the last two sizes.

    Args:
        timed: Sides in pixels, growing, with the seconds of a step; without any, nothing is expected.
        size: Side in pixels, beyond them.
    """
    if not timed:
        return 0.0
    last, seconds = timed[-1]
    power = 2.0  # of the side: in proportion to the tokens
    if len(timed) > 1:
        before, seconds_before = timed[-2]
        power = math.log(seconds / seconds_before) / math.log(last / before)
    # Nothing here grows faster than the square of the tokens, or in the long run slower than they do.
    return float(seconds * (size / last) ** min(max(power, 2.0), 4.0))


def _turns(rounds: int, seconds: float) -> int:
    return min(rounds, max(2, int(SECONDS_A_CASE / seconds)))


def _series(subject: Subject, runs: Sequence[_Run], end: tuple[int, str] | None) -> Series:
    samples = []
    for run in (run for run in runs if run.subject is subject):
        if run.failed:
            end = run.size, OUT_OF_MEMORY
            break
        faults = None if math.isnan(run.faults[0]) else float(np.median(run.faults))
        tokens = subject.tokens(run.size)
        samples.append(Sample(run.size, tokens, run.macs, tuple(run.seconds), run.first.memory, faults))
    return Series(subject, tuple(samples), end)


def _page_faults() -> float:
    """Return how many pages this process was handed so far without reading a disk, or NaN where nobody counts."""
    if sys.platform == "win32":
        return math.nan
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
