"""The learning rate that the images of a step ask for, when they are not as many as the rate was chosen for."""

from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_only

from gpvit.errors import UserError


def images_per_step(trainer: Any) -> int:
    """Count the images of one optimiser step: of all devices of all nodes, and of all batches that are accumulated.

    Args:
        trainer: A Trainer that knows its data module, which says by `batch_size` what one device takes at a time.
    """
    images: int = trainer.datamodule.batch_size * trainer.world_size * trainer.accumulate_grad_batches
    return images


def peak_lr(trainer: Any, lr: float, base_batch_size: int | None) -> float:
    """Scale a learning rate in proportion to the images of a step, and print it where that changes it.

    Args:
        trainer: As `images_per_step` takes it.
        lr: The rate for a step of `base_batch_size` images.
        base_batch_size: How many; None keeps the rate as it is, whatever the batch.
    """
    if base_batch_size is None:
        return lr
    images = images_per_step(trainer)
    scaled = lr * images / base_batch_size
    if images != base_batch_size:
        rank_zero_only(print)(
            f"learning rate {scaled:.3g} for {images} images a step, from {lr:.3g} for {base_batch_size}", flush=True
        )
    return scaled


def check_base_batch_size(base_batch_size: int | None) -> None:
    """Check, before any data are read, that a number of images is one.

    Raises:
        ValueError: If it is not positive.
    """
    if base_batch_size is not None and base_batch_size < 1:
        raise UserError(
            f"base_batch_size {base_batch_size}: give the images of a step that lr is for, 1 or more, or null"
        )
