"""What a case takes: one step again and again, in memory's and in patience's limits."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gpvit.profile.memory import Memory, measure_memory
from gpvit.profile.workload import Case, build

MIB = 2**20


@dataclass(frozen=True)
class Measurement:
    """What a case took.

    Args:
        case: What was run.
        seconds: Duration of a step in each round that the case took part in; empty if it ran out of memory.
        memory: Memory of a process that runs the case alone, or None if it was not measured.
        unwarmed: Whether patience ended before the first round, so that an earlier step stands for a timed one.
    """

    case: Case
    seconds: tuple[float, ...]
    memory: Memory | None
    unwarmed: bool = False

    @property
    def out_of_memory(self) -> bool:
        """Whether the case did not fit into memory."""
        return not self.seconds

    @property
    def runs(self) -> int:
        """Number of timed steps."""
        return len(self.seconds)

    @property
    def median_ms(self) -> float | None:
        """Median duration of a step in milliseconds."""
        return None if self.out_of_memory else 1e3 * float(np.median(self.seconds))

    @property
    def iqr_ms(self) -> float | None:
        """Spread of the durations: third less first quartile, in milliseconds; None of fewer than two."""
        return None if self.runs < 2 else 1e3 * float(np.subtract(*np.percentile(self.seconds, [75, 25])))

    @property
    def images_per_second(self) -> float | None:
        """Images per second at the median duration."""
        return None if self.median_ms is None else 1e3 * self.case.batch_size / self.median_ms

    @property
    def memory_mib(self) -> float | None:
        """Peak memory over the idle process in MiB."""
        return None if self.memory is None else self.memory.over_idle / MIB


class CaseRun:
    """A case while it is measured: prepared once, then timed round by round.

    Args:
        case: What is measured.
        patience: Seconds after which no step is begun any more; the first of all is run in any case.
    """

    def __init__(self, case: Case, patience: float):
        self.case = case
        self.patience = patience
        self.memory: Memory | None = None
        self.step: Callable[[], None] | None = None
        self.before: list[float] = []  # durations of the steps before the first round
        self.seconds: list[float] = []
        self.out_of_memory = False

    def prepare(self, warmup: int, memory: bool) -> None:
        """Measure memory, build the step and warm it up, as far as patience goes.

        Args:
            warmup: Untimed steps.
            memory: Whether to measure peak memory, in a fresh process.
        """
        try:
            self.memory = measure_memory(self.case) if memory else self.memory
            # A compiled case's first step is mostly compilation, and says nothing about the next.
            if self.memory is not None and not self.case.compiled:
                self.before.append(self.memory.seconds)
            if not self._is_worn():
                self.step = build(self.case)
            for i in range(warmup):
                if self.step is not None and not self._is_worn():
                    duration = _duration(self.step)
                    self.before += [duration] if i or not self.case.compiled else []
        except MemoryError:
            self._give_up()

    def time(self) -> None:
        """Take part in a round, unless memory or patience ran out."""
        if self.step is None or self._is_worn():
            self.step = None  # and with it the model: nobody needs it any more
            return
        try:
            self.seconds.append(_duration(self.step))
        except MemoryError:
            self._give_up()

    def result(self) -> Measurement:
        """Return what was measured; without a timed step, the last step of the preparation stands for it."""
        seconds = [] if self.out_of_memory else self.seconds or self.before[-1:]
        return Measurement(self.case, tuple(seconds), self.memory, bool(seconds) and not self.seconds)

    def retry(self, warmup: int, rounds: int) -> None:
        """Measure the time of a case again that had run out of memory, with nothing else in memory.

        Args:
            warmup: Untimed steps.
            rounds: Timed steps.
        """
        self.out_of_memory = False
        self.before, self.seconds = [], []
        self.prepare(warmup, memory=False)
        for _ in range(rounds):
            self.time()
        self.set_aside()

    def set_aside(self) -> None:
        """Free the model; nothing more is timed."""
        self.step = None

    def _is_worn(self) -> bool:
        return sum(self.before) + sum(self.seconds) >= self.patience

    def _give_up(self) -> None:
        self.step, self.out_of_memory = None, True


def _duration(step: Callable[[], None]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start
