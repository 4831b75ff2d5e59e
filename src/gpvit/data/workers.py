"""Loader processes: how many, and what ends them."""

import atexit
import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

_ENDING = torch.zeros((), dtype=torch.bool).share_memory_()
"""Whether this process ends, told to its loader processes: Python then stops them by SIGTERM, and waits for them."""
atexit.register(_ENDING.fill_, True)


def usable_cores() -> int:
    """Count the processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def outlive_signals() -> Callable[[int], None]:
    """Make a `worker_init_fn` for loader processes that outlive what asks all processes of a run to stop.

    Ctrl-C and the first SIGTERM leave them alive, so that training may finish its step, save and end them.
    """
    return partial(_outlive_signals, ending=_ENDING)


def _outlive_signals(worker: int, ending: torch.Tensor) -> None:
    received: list[int] = []

    def stop(number: int, frame: Any) -> None:
        if ending or received:  # a second one comes from a training process that ends
            os._exit(0)  # any other end would be reported as a failure
        received.append(number)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, stop)
