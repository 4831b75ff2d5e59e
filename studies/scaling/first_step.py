"""One step in a process of its own: its time, and the memory that it adds to a process where nothing ran before.

Such a process is forked from one that has loaded torch and done nothing else, which takes a tenth of the time of a
start from scratch. Where it exhausts the machine's memory, the system ends it and not the measurement.
"""

import contextlib
import ctypes
import multiprocessing
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from gpvit.devices import status_bytes
from gpvit.profile.workload import Precision, memory_errors
from studies.scaling.subjects import Subject, forward_step

# A step this small brings code, threads and the libraries' own buffers into memory, which no image is to blame for.
WARM_UP_SIZE = 64

M_MMAP_THRESHOLD, M_MMAP_MAX = -3, -4  # of malloc.h


@dataclass(frozen=True)
class FirstStep:
    """What a single step took.

    Args:
        seconds: Its duration.
        memory: Bytes that it added to its process at its peak; None where the system does not tell.
    """

    seconds: float
    memory: int | None


def measure_first_step(subject: Subject, size: int, dtype: Precision, device: str) -> FirstStep:
    """Run one step in a fresh process.

    Args:
        subject: What to run.
        size: Side of the image in pixels.
        dtype: Precision.
        device: `cpu` or `cuda`.

    Raises:
        MemoryError: If the step does not fit into memory.
        RuntimeError: If the process fails for another reason, with that.
    """
    context: Any = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
    context.set_forkserver_preload([__name__])
    receiver, sender = context.Pipe(duplex=False)
    arguments = (sender, subject, size, dtype, device, torch.get_num_threads())
    process = context.Process(target=_answer, args=arguments, daemon=True)
    process.start()
    sender.close()  # so that the end of the process is the end of the pipe
    try:
        answer: FirstStep | str | None = receiver.recv()
    except EOFError:
        process.join()
        answer = None if process.exitcode == -signal.SIGKILL else f"it ended with exit code {process.exitcode}"
    process.join()
    if answer is None:
        raise MemoryError(f"{subject.label} at {size} px does not fit into memory")
    if isinstance(answer, str):
        raise RuntimeError(f"{subject.label} at {size} px failed in a process of its own:\n{answer}")
    return answer


def _answer(sender: Connection, subject: Subject, size: int, dtype: Precision, device: str, threads: int) -> None:
    """Send what a step took; None if it ran out of memory, and the traceback if it failed otherwise."""
    _be_first_to_go()
    _return_freed_memory()
    torch.set_num_threads(threads)
    try:
        sender.send(_measure_here(subject, size, dtype, device))
    except MemoryError:
        sender.send(None)
    except Exception:
        sender.send(traceback.format_exc())


def _be_first_to_go() -> None:
    """Ask Linux to end this process rather than the one that waits for it, should memory run out."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # where /proc cannot be written, the system chooses for itself
            Path("/proc/self/oom_score_adj").write_text("1000")


def _return_freed_memory() -> None:
    """Make GNU's C library map every larger tensor by itself and unmap it when it is freed.

    Memory that it kept for later use would otherwise count, or be used unseen, as its history has it: by a fifth more
    or less from one size to the next.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 2**30)
        mallopt(M_MMAP_THRESHOLD, 2**16)


def _measure_here(subject: Subject, size: int, dtype: Precision, device: str) -> FirstStep:
    with memory_errors():
        module = subject.create().to(device)
        forward_step(module, subject.inputs(WARM_UP_SIZE, device), dtype)()
        step = forward_step(module, subject.inputs(size, device), dtype)
    idle = _bytes_in_use(device)
    start = time.perf_counter()
    step()
    seconds = time.perf_counter() - start
    peak = _bytes_in_use(device, peak=True)
    return FirstStep(seconds, None if idle is None or peak is None else max(0, peak - idle))


def _bytes_in_use(device: str, peak: bool = False) -> int | None:
    if torch.device(device).type == "cuda":
        if peak:
            return torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    return status_bytes("VmHWM" if peak else "VmRSS") if sys.platform == "linux" else None
