"""What ends a run from outside its own code, in words: no memory left, worker or other processes that are gone."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed

from gpvit.errors import UserError

# Of torch's messages; each stands for errors that differ in their other words.
_WORKER_GONE = r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (?:is killed by signal|exited unexpectedly)"
_SHARED_MEMORY = r"unable to (?:mmap|write to file|open shared memory|allocate shared memory)|torch_shm_manager"
_NO_MEMORY = r"not enough memory|can't allocate memory|[Oo]ut of memory|_STATUS_ALLOC_FAILED"
_PEER_GONE = (
    r"[Cc]onnection (?:closed|reset|refused|was likely closed)|[Bb]roken pipe|[Tt]imed out waiting|NCCL communicator|"
    r"remote process (?:has terminated|exited)|ncclRemoteError|store->|DDP expects|recvBytes|sendBytes"
)
_WORKER_REMEDY = (
    "Lower data.num_workers: each holds two batches and its own copy of what was read; 0 loads in this process. "
    "In a container, give /dev/shm more room: docker run --shm-size=8g, or --ipc=host."
)


class TrainingError(UserError):
    """Ends a run with a message that says what happened, and what helps."""


@contextmanager
def explained(run: Any) -> Iterator[None]:
    """Put into words what ends training within.

    Args:
        run: A `gpvit.train.loop.Run`.

    Raises:
        TrainingError: In place of torch's error, which is its cause. Any other error passes as it is.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if (message := _explanation(error, run)) is None:
            raise
        raise TrainingError(f"{message}\n{how_to_resume(run.folder)}") from error


def how_to_resume(folder: Path) -> str:
    """Name the last whole checkpoint of a run, and what resumes from it."""
    for name in ("last.ckpt", "previous.ckpt"):
        if (folder / name).is_file():
            return f"The last good checkpoint is {folder / name}: gpvit train --resume {folder} continues from it."
    return f"There is no checkpoint in {folder} yet."


def _explanation(error: Exception, run: Any) -> str | None:
    text = f"{error} {error.__cause__ or ''}"  # torch names the signal that ended a worker process in the cause
    reason = next(iter(text.strip().splitlines()), "").strip()[:200] or "no further word"
    if gone := re.search(_WORKER_GONE, text):
        killed = "; systems do so when memory runs out, dmesg tells" if "Killed" in text else ""
        return f"the loader process {gone[1].strip()} is gone ({reason}{killed}). {_WORKER_REMEDY}"
    if re.search(_SHARED_MEMORY, text):
        return f"shared memory, by which loader processes hand over images, is full ({reason}). {_WORKER_REMEDY}"
    if isinstance(error, MemoryError) and "DataLoader worker" in text:
        return f"a loader process found no memory left on this machine. {_WORKER_REMEDY}"
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or re.search(_NO_MEMORY, text):
        return _memory_advice(run, reason)
    is_lost = isinstance(error, torch.distributed.DistError) or re.search(_PEER_GONE, text)
    if run.fabric.world_size > 1 and is_lost:
        return (
            f"process {run.fabric.global_rank} of {run.fabric.world_size} lost another process of this run ({reason}): "
            "that one's own message tells why; without one, memory may have run out on its machine (dmesg tells)."
        )
    return None


def _memory_advice(run: Any, reason: str) -> str:
    """Say what training held when memory ran out, and what helps of what is not in use yet."""
    config, batch = run.config, run.batch_size
    weights = sum(parameter.nbytes * (4 if parameter.requires_grad else 1) for parameter in run.task.parameters())
    remedies = []
    if batch > 1:
        same = "" if config.global_batch_size else f" --train.accumulate {2 * run.accumulate}"
        remedies.append(f"smaller batches, as many images a step: --data.batch_size {batch // 2}{same}")
    if not config.grad_checkpointing:
        # measured for L1 and L4 at 224 pixels by the bytes that autograd saves
        remedies.append("--train.grad_checkpointing true: about 70 % less for activations; a third more time")
    if config.precision == "32-true":
        remedies.append("--train.precision bf16-mixed: 20 to 40 % less for activations; faster on GPUs, too")
    listed = "".join(f"\n  {number}. {remedy}" for number, remedy in enumerate(remedies, start=1))
    return (
        f"out of memory on {run.fabric.device} at step {run.step}, with batches of {batch} images ({reason}). Weights, "
        f"gradients and the optimiser's averages take {weights / 2**30:.2f} GiB of it. What helps, alone or together:"
        + (listed or " smaller images, or a smaller model.")
    )
