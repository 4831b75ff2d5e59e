"""What ends a run from outside its own code: memory, worker processes and other processes that are gone, in words."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from lightning import LightningModule, Trainer

from gpvit.errors import UserError
from gpvit.train.memory_advice import memory_advice

# Of torch's messages; each stands for errors that differ in their other words.
_WORKER_GONE = r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (?:is killed by signal|exited unexpectedly)"
_SIGNAL = r"is killed by signal: (\w[\w ]*)"
_SHARED_MEMORY = r"unable to (?:mmap|write to file|open shared memory|allocate shared memory)|torch_shm_manager"
_NO_MEMORY = r"not enough memory|can't allocate memory|[Oo]ut of memory|_STATUS_ALLOC_FAILED"
_PEER_GONE = (
    r"[Cc]onnection (?:closed|reset|refused|was likely closed)|[Bb]roken pipe|[Tt]imed out waiting|NCCL communicator|"
    r"remote process (?:has terminated|exited)|ncclRemoteError|store->|DDP expects|recvBytes|sendBytes"
)


class TrainingError(UserError):
    """Ends a run with a message that says what happened, and what helps."""


@contextmanager
def explained(trainer: Trainer, task: LightningModule) -> Iterator[None]:
    """Put into words what ends training within: no memory left, a worker process or another process of the run gone.

    Args:
        trainer: Of the run.
        task: What is trained.

    Raises:
        TrainingError: In place of torch's error, which is its cause. Any other error passes as it is.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        message = _explanation(error, trainer, task)
        if message is None:
            raise
        raise TrainingError(message) from error


def how_to_go_on(trainer: Trainer) -> str:
    """Name the last whole checkpoint of a run, and what goes on from it."""
    folder = Path(trainer.default_root_dir)
    for name in ("last.ckpt", "previous.ckpt"):
        if (folder / name).is_file():
            return f"The last good checkpoint is {folder / name}: gpvit train RECIPE --out {folder} --resume goes on."
    return f"There is no checkpoint in {folder} yet."


def _explanation(error: Exception, trainer: Trainer, task: LightningModule) -> str | None:
    text = f"{error} {error.__cause__ or ''}"  # torch names the signal that ended a worker process in the cause
    in_worker = "DataLoader worker" in text
    if gone := re.search(_WORKER_GONE, text):
        ended_by = re.search(_SIGNAL, text)
        return f"{_worker_gone(gone[1], ended_by and ended_by[1])} {_worker_remedies(trainer)} {how_to_go_on(trainer)}"
    if re.search(_SHARED_MEMORY, text):
        return (
            f"shared memory, by which loader processes hand over images, is full ({_first_line(text)}). "
            f"{_worker_remedies(trainer)} {how_to_go_on(trainer)}"
        )
    if isinstance(error, MemoryError) and in_worker:
        return (
            f"a loader process found no memory left on this machine. {_worker_remedies(trainer)} "
            f"{how_to_go_on(trainer)}"
        )
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or re.search(_NO_MEMORY, text):
        return f"{memory_advice(trainer, task, _first_line(text))}\n{how_to_go_on(trainer)}"
    if trainer.world_size > 1 and (isinstance(error, torch.distributed.DistError) or re.search(_PEER_GONE, text)):
        return (
            f"process {trainer.global_rank} of {trainer.world_size} lost another process of this run "
            f"({_first_line(text)}). It ended or was ended, or its machine is not to be reached any more: its own "
            f"message, before or after this one, tells why; without one, memory may have run out on its machine "
            f"(dmesg tells). {how_to_go_on(trainer)}"
        )
    return None


def _worker_gone(pids: str, signal: str | None) -> str:
    how = f"was ended by a signal ({signal})" if signal else "ended without a word"
    cause = ""
    if signal and "Killed" in signal:
        cause = " Systems do so when the machine's memory runs out (dmesg tells)."
    if signal and "Bus error" in signal:
        cause = " Shared memory, by which loader processes hand over images, was full."
    return f"the loader process {pids.strip()} {how}.{cause}"


def _worker_remedies(trainer: Trainer) -> str:
    workers = getattr(trainer.datamodule, "num_workers", None)  # type: ignore[attr-defined]
    now = "" if workers is None else f" (now {workers}, in each of {trainer.world_size} processes)"
    return (
        f"Lower data.num_workers{now}: each process holds two batches and its own copy of what was read; 0 loads in "
        "the training process. In a container, give /dev/shm more room: docker run --shm-size=8g, or --ipc=host."
    )


def _first_line(text: str) -> str:
    """Shorten an error's message to its first sentence."""
    line = next(iter(text.strip().splitlines()), "").strip() or "no further word"
    return line if len(line) <= 200 else line[:200] + "…"
