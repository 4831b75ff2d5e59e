"""Stopping in an orderly way when a signal asks for it, agreed on by all processes of a run."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments import LightningEnvironment
from torch import Tensor


class Interrupted(SystemExit):
    """Ends a run that saved itself; its exit code is that of a program which the signal ended."""


@contextmanager
def noted_signals() -> Iterator[list[int]]:
    """Note SIGTERM, which clusters send before they stop a job, and SIGINT (Ctrl-C), in a list for the loop to look at.

    A second SIGINT ends the process at once, whatever it waits for.
    """
    noted: list[int] = []

    def note(number: int, _: Any) -> None:
        noted.append(number)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # no handler of Python's runs within a collective

    is_main = threading.current_thread() is threading.main_thread()
    before = {n: signal.signal(n, note) for n in (signal.SIGTERM, signal.SIGINT)} if is_main else {}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class StepFlags:
    """Lets all processes know whether one has a loss that is not finite, and whether one is asked to stop.

    Both travel in one small reduction that nothing waits for: what is sent at one step is read at the next, when it has
    long arrived. A single process reduces nothing.

    Args:
        fabric: Of the run.
        noted: The signals that ask this process to stop.
    """

    def __init__(self, fabric: Fabric, noted: list[int]) -> None:
        self.noted = noted
        self.several = fabric.world_size > 1
        self._none = torch.zeros((), device=fabric.device)
        self._sent: tuple[Tensor, Callable[[], Any]] | None = None
        self._agreed = 0

    @property
    def stop(self) -> int:
        """The signal that asks the run to stop, the same in all processes; 0 for none."""
        return self._agreed if self.several else max(self.noted, default=0)

    def send(self, bad: Tensor | None = None) -> None:
        """Send this process's flags, `bad` for a loss `()` that is not finite; all must do so at the same place."""
        flags = torch.stack([self._none if bad is None else bad.float(), self._none + max(self.noted, default=0)])
        wait: Any = lambda: None  # noqa: E731
        if self.several:
            wait = torch.distributed.all_reduce(flags, torch.distributed.ReduceOp.MAX, async_op=True).wait
        if flags.is_cuda:
            wait()  # the GPU does, not this process
            flags = flags.to("cpu", non_blocking=True)
            wait = torch.cuda.current_stream().record_event().synchronize
        self._sent = flags, wait

    def read(self) -> bool:
        """Tell whether a loss was not finite in what was sent last; what was read already is no longer."""
        if self._sent is None:
            return False
        flags, wait = self._sent
        wait()
        self._sent = None
        bad, self._agreed = (int(flag) for flag in flags.tolist())
        return bad > 0


def interrupt(fabric: Fabric, number: int, folder: Path, step: int) -> NoReturn:
    """End this process as a signal asks, with exit code 128 + N as shells have it, and say how to resume.

    Of the processes that Fabric started, only the parent's code is looked at, which takes any but 0 for their crash.

    Raises:
        Interrupted: Always.
    """
    if fabric.is_global_zero:
        kept = f"{folder} is saved after step {step}" if step else "nothing was learned yet"
        message = f"stopped by {signal.Signals(number).name}: {kept}. gpvit train --resume {folder} continues"
        print(message, file=sys.stderr, flush=True)
    fabric.barrier()  # the end of another process must not be that of the one which saves
    environment = getattr(fabric.strategy, "cluster_environment", None)
    is_child = isinstance(environment, LightningEnvironment) and fabric.local_rank > 0
    raise Interrupted(0 if is_child else 128 + number)
