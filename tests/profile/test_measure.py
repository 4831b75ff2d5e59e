import os
import signal
import sys
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from gpvit.profile import measure as engine
from gpvit.profile.measure import Measurement, Memory, duration, measure, measure_memory

MIB = 2**20
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the memory of a process")


def filling(mebibytes):
    def step():
        torch.ones(mebibytes * MIB // 4).add(1)

    return step


def failing(error):
    def step():
        raise error

    return step


def killed():
    return partial(os.kill, os.getpid(), signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)


@linux_only
def test_memory_of_a_step_is_what_its_tensors_take():
    memory = measure_memory(partial(filling, 64), steps=2, small=partial(filling, 1))
    assert memory.added_mib == pytest.approx(128, abs=4)
    assert len(memory.seconds) == 2
    assert memory.peak - memory.idle == pytest.approx(memory.added_mib * MIB)


def test_where_the_system_does_not_tell_there_is_no_figure(monkeypatch):
    monkeypatch.setattr(sys, "platform", "sunos")
    monkeypatch.delattr(signal, "SIGKILL", raising=False)
    memory = engine._run_steps(partial(filling, 1), 1, None, "cpu")
    assert (memory.idle, memory.peak, len(memory.seconds)) == (None, None, 1)
    assert memory.added_mib is None


@pytest.mark.parametrize("build", [partial(failing, MemoryError("full")), killed])
@linux_only
def test_lack_of_memory_is_recognised_in_the_other_process(build):
    with pytest.raises(MemoryError):
        measure_memory(build)


def test_other_failures_are_told():
    with pytest.raises(RuntimeError, match="ZeroDivisionError: by hand"):
        measure_memory(partial(failing, ZeroDivisionError("by hand")))


class Case(SimpleNamespace):
    """Stands for a case whose steps seem to take `seconds`, and which is out of memory at some of its steps."""

    compiled = False
    full_at = ()

    def __str__(self):
        return self.name

    def build(self):
        self.calls.append(f"build {self.name}")

        def step():
            self.calls.append(self.name)
            if self.calls.count(self.name) in self.full_at:
                raise MemoryError

        step.seconds = self.seconds
        return step

    def memory(self):
        return Memory(0, MIB, (self.seconds,))


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setattr(engine, "duration", lambda step: step() or getattr(step, "seconds", 0.0))


def run(rounds, *cases, memory=False, **options):
    runs = [Measurement(case, **options) for case in cases]
    measure(runs, rounds, memory)
    return runs


def test_rounds_are_interleaved_after_the_warm_up():
    calls = []
    a, b = run(2, *(Case(name=name, seconds=1.0, calls=calls) for name in "ab"), warmup=1)
    assert calls == ["build a", "a", "build b", "b", "a", "b", "a", "b"]
    assert a.seconds == b.seconds == [1.0, 1.0]


def test_short_steps_are_repeated_and_their_mean_counts():
    calls = []
    (short,) = run(2, Case(name="a", seconds=engine.SHORTEST_S / 4, calls=calls))
    assert calls.count("a") == 1 + 4
    assert short.seconds == pytest.approx([engine.SHORTEST_S / 4] * 2)


@pytest.mark.parametrize(
    ("seconds", "memory", "steps", "timed"),
    # 20 s: two steps of warm-up and one that counts, or none after the fresh process. 70 s: a single step.
    [(1.0, False, 6, 4), (20.0, False, 3, 1), (20.0, True, 2, 1), (70.0, False, 1, 1), (70.0, True, 0, 1)],
)
def test_a_time_limit_ends_slow_cases_after_one_step(seconds, memory, steps, timed):
    calls = []
    (slow,) = run(4, Case(name="a", seconds=seconds, calls=calls), warmup=2, time_limit_s=60, memory=memory)
    assert calls.count("a") == steps
    assert slow.seconds == [seconds] * timed


def test_compilation_does_not_count_towards_the_limit():
    (slow,) = run(2, Case(name="a", seconds=70.0, calls=[], compiled=True), warmup=1, time_limit_s=60, memory=True)
    assert len(slow.durations) == 2
    assert len(slow.seconds) == 1


def test_lack_of_memory_midway_ends_that_case_only():
    full, other = run(3, *(Case(name=n, seconds=1.0, calls=[], full_at=f) for n, f in (("a", (2,)), ("b", ()))))
    assert (full.out_of_memory, full.seconds) == (True, [])
    assert len(other.seconds) == 3


def test_what_fits_alone_is_timed_alone():
    calls = []
    cases = [Case(name=n, seconds=1.0, calls=calls, full_at=f) for n, f in (("a", (2,)), ("b", ()))]
    alone, _ = run(2, *cases, memory=True)
    assert calls[-3:] == ["build a", "a", "a"]
    assert (alone.out_of_memory, alone.seconds) == (False, [1.0, 1.0])


def test_the_clock_runs_while_the_step_does():
    assert duration(lambda: sum(range(1000))) > 0
