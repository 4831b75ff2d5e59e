"""Losses that are not finite: told with the images that gave them, or passed over up to a limit."""

import os
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from lightning import Trainer

from gpvit.train.failures import TrainingError, how_to_go_on

_SHOWN = 3  # images named in a message
_FILE = "not_finite.txt"


class NanGuard:
    """Sees to it that nothing is learned from a loss that is not finite.

    All processes of a run agree: where one has such a loss, all of them pass over the step, or all end. Gradients that
    overflow under fp16-mixed are no such loss: their scaler passes over them by itself.

    Attributes:
        skipped: How many losses were passed over.
    """

    def __init__(self) -> None:
        self.skipped = 0

    def passes(self, trainer: Trainer, loss: torch.Tensor, limit: int) -> bool:
        """Tell whether a loss can be learned from, in all processes.

        Reading it makes the processor wait for the forward pass. That costs next to nothing, as the processor still
        runs ahead through the backward pass, the optimiser's step and the next batch.

        Args:
            trainer: Of the run.
            loss: Of a training batch.
            limit: How many losses may be passed over.

        Raises:
            TrainingError: If it cannot, and no more may be passed over. The images are named.
        """
        bad = (~loss.detach().isfinite()).any().float()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(bad, torch.distributed.ReduceOp.MAX)
        if not bad:
            return True
        names = _names(trainer)
        message = _everywhere(_told(loss, names, trainer))
        self.skipped += 1
        if self.skipped <= limit:
            if trainer.is_global_zero:
                warnings.warn(f"{message}; passed over, {self.skipped} of at most {limit}", stacklevel=4)
            return False
        if listed := _list(trainer, names):
            message += f" (all in {listed})"
        passed = f"; before it, {limit} were passed over" if limit else ""
        raise TrainingError(
            f"{message}{passed}, so nothing more can be learned. Look at these images; lower lr, or clip gradients: "
            f"trainer.gradient_clip_val 1.0; or pass over some: model.max_skipped_steps 10. {how_to_go_on(trainer)}"
        )


def _names(trainer: Trainer) -> list[str]:
    """Name the images of the current training batch of this process, none where the loader does not tell."""
    loader: Any = trainer.train_dataloader
    batch = getattr(getattr(loader, "batch_sampler", None), "batch", None)
    if batch is None:
        return []
    indices = batch(trainer.current_epoch, trainer.fit_loop.batch_idx)
    name = getattr(loader.dataset, "name", "sample {}".format)
    return [name(index) for index in indices]


def _told(loss: torch.Tensor, names: list[str], trainer: Trainer) -> str:
    """Say what is wrong in this process, nothing if another one is meant."""
    if loss.isfinite().all():
        return ""
    where = f" of process {trainer.global_rank}" if trainer.world_size > 1 else ""
    message = f"the loss{where} is {loss.item()} at step {trainer.global_step}"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return message + (f", of the images {', '.join(names[:_SHOWN])}{more}" if names else "")


def _everywhere(told: str) -> str:
    """Join what the processes tell, each of its own loss."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return told
    all_told: list[str] = [""] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(all_told, told)
    return "; ".join(filter(None, all_told))


def _list(trainer: Trainer, names: list[str]) -> Path | None:
    """List the images in the run folder, if they are too many for a message."""
    folder = Path(trainer.default_root_dir)
    if len(names) <= _SHOWN or folder.resolve() == Path.cwd():  # a Trainer's that was given no folder
        return None
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (_FILE if trainer.world_size == 1 else f"process-{trainer.global_rank}-{_FILE}")
    temporary = path.with_name(f".{path.name}")
    temporary.write_text("\n".join(names) + "\n", encoding="utf-8")
    os.replace(temporary, path)
    return path
