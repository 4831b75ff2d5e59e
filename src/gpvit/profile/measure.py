"""The one engine behind every measurement: steps timed in turns, and the memory of a step in a fresh process.

`torch.utils.benchmark` gives the clock, which waits for a GPU. Its `Timer` runs one statement to the end, with two more
runs to warm up each time; here cases take turns, so that a busy machine slows all of them alike.
"""

import contextlib
import ctypes
import multiprocessing
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from torch.utils.benchmark import timer

from gpvit.devices import peak_memory, status_bytes
from gpvit.plugins import import_plugins

Step = Callable[[], object]
"""Does the work once; raises MemoryError where it does not fit."""

SHORTEST_S = 0.05  # a shorter step is repeated for so long, and the mean counts as one
_M_MMAP_THRESHOLD, _M_MMAP_MAX = -3, -4  # of malloc.h


def duration(step: Step) -> float:
    """Run a step once, and return its seconds."""
    start = timer()
    step()
    return float(timer() - start)


@dataclass(frozen=True)
class Memory:
    """What a fresh process takes: resident memory on a CPU, what torch allocates on a GPU."""

    idle: int | None  # bytes in use before the first step; None where nobody tells
    peak: int | None  # most bytes in use while steps run
    seconds: tuple[float, ...]  # of each step, the first without warm-up

    @property
    def added_mib(self) -> float | None:
        """MiB that a step adds at its peak."""
        return None if self.idle is None or self.peak is None else max(0, self.peak - self.idle) / 2**20


def measure_memory(
    build: Callable[[], Step], steps: int = 1, small: Callable[[], Step] | None = None, device: str = "cpu"
) -> Memory:
    """Run steps in a process of their own, forked from one that has loaded torch and done nothing else.

    `build` makes the step, and is pickled; `small` makes one that runs before memory is read, to load code and buffers
    that no input is to blame for.
    """
    forks = "forkserver" in multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("forkserver" if forks else "spawn")
    context.set_forkserver_preload(["gpvit.profile.workload"])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sender, torch.get_num_threads(), build, steps, small, device))
    process.start()
    sender.close()  # so that the end of the process is the end of the pipe
    try:
        answer: Memory | Exception = receiver.recv()
    except EOFError:
        process.join()
        # Linux kills (9) the process that exhausts the machine's memory.
        is_full, reason = process.exitcode == -9, f"the process of a step ended with exit code {process.exitcode}"
        answer = MemoryError(reason) if is_full else RuntimeError(reason)
    process.join()
    if isinstance(answer, Exception):
        raise answer
    return answer


def _answer(sender: Any, threads: int, *arguments: Any) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # should memory run out, this process ends and not the one that waits
            Path("/proc/self/oom_score_adj").write_text("1000")
        if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
            # GNU's C library keeps freed memory as its history has it; this returns every larger tensor at once.
            mallopt(_M_MMAP_MAX, 2**30)
            mallopt(_M_MMAP_THRESHOLD, 2**16)
    torch.set_num_threads(threads)
    try:
        import_plugins()
        sender.send(_run_steps(*arguments))
    except MemoryError as error:
        sender.send(error)
    except Exception:
        sender.send(RuntimeError(f"a step failed in a process of its own:\n{traceback.format_exc()}"))


def _run_steps(build: Callable[[], Step], steps: int, small: Callable[[], Step] | None, device: str) -> Memory:
    if small is not None:
        small()()
    step, place = build(), torch.device(device)
    if place.type == "cuda":
        torch.cuda.reset_peak_memory_stats(place)
        idle: int | None = torch.cuda.memory_allocated(place)
    else:
        idle = status_bytes("VmRSS") if sys.platform == "linux" else None
    seconds = tuple(duration(step) for _ in range(steps))
    return Memory(idle, peak_memory(place), seconds)


@dataclass
class Measurement:
    """A case that is measured, or was."""

    case: Any  # has `build()`, which makes the step, and says whether it is `compiled` first
    warmup: int = 0  # steps that do not count
    time_limit_s: float = float("inf")  # no step begins after it; those of warm-up and fresh process are included
    memory: Memory | None = None  # of a fresh process that runs the case alone
    durations: list[float] = field(default_factory=list)  # of every step, warm-up included
    out_of_memory: bool = False
    step: Step | None = None

    @property
    def seconds(self) -> list[float]:
        """Duration of each step that counts, or of the last before where time ran out; none if memory did."""
        earlier = self.durations or list(self.memory.seconds if self.memory else ())
        return [] if self.out_of_memory else self.durations[self.warmup :] or earlier[-1:]

    def take_turns(self, number: int = 1) -> None:
        """Run the step again, unless memory or time ran out."""
        for _ in range(number):
            # What a step takes that compiles says nothing about the next.
            spent = [*(self.memory.seconds[-1:] if self.memory else ()), *self.durations[:1]] * (not self.case.compiled)
            if self.out_of_memory or sum(spent) + sum(self.durations[1:]) >= self.time_limit_s:
                self.step = None  # and with it the model: nobody needs it any more
                return
            try:
                self.step = self.step or self.case.build()
                repeats = max(1, int(SHORTEST_S / self.durations[-1])) if self.durations else 1
                self.durations.append(sum(duration(self.step) for _ in range(repeats)) / repeats)
            except MemoryError:
                self.step, self.out_of_memory = None, True


def measure(runs: Sequence[Measurement], rounds: int, memory: bool = False, progress: bool = False) -> None:
    """Measure side by side, memory first if asked for: every round runs every case once, after its warm-up."""
    compiled = sum(run.case.compiled for run in runs)
    # The default allows one architecture eight compiled shapes and then runs it uncompiled.
    limit: Any = torch._dynamo.config.patch(recompile_limit=8 + compiled) if compiled else contextlib.nullcontext()
    with limit, Progress(console=Console(stderr=True), disable=not progress) as bar:
        task = bar.add_task("", total=len(runs) * (1 + rounds))
        for run in runs:
            bar.update(task, description=f"{run.case}: warm-up", advance=1)
            try:
                run.memory = run.case.memory() if memory else run.memory
            except MemoryError:
                run.out_of_memory = True
            run.take_turns(run.warmup)
        for _ in range(rounds):
            for run in runs:
                bar.update(task, description=str(run.case), advance=1)
                run.take_turns()
        for run in runs:
            run.step = None
        for run in runs:
            if run.out_of_memory and run.memory is not None:  # it fits alone, and did not beside the others
                run.out_of_memory, run.durations = False, []
                run.take_turns(run.warmup + rounds)
                run.step = None
