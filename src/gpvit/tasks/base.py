"""What all tasks share: a network for the data, a loss that must be finite, a schedule that knows its end."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning import LightningModule
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from gpvit.errors import UserError
from gpvit.train.compilation import compile_network
from gpvit.train.nan_guard import NanGuard
from gpvit.zoo.build import check_arguments
from gpvit.zoo.catalog import find
from gpvit.zoo.factory import create_model

_SKIPPED = "gpvit_skipped_steps"


class Task(LightningModule):
    """Trains a model of the catalog.

    A subclass takes `name`, `model_kwargs` and `weights`, and perhaps `backbone_weights`, `max_skipped_steps`,
    `grad_checkpointing` and `compile`, as hyperparameters.

    Attributes:
        best_metric: The metric that tells the best weights; higher is better.
        sync_batch_norm: Whether batch norms see the batches of all processes, on GPUs.
        network: What is trained; there is none before the Trainer knows the data.
        validated_step: Optimiser steps taken when the weights were last validated.
        loss_guard: Counts the losses that were passed over.
        batch_shape: Of the last batch `(B, C, H, W)`, H and W those of its largest image; None before the first.
    """

    best_metric: str
    sync_batch_norm = False
    network: nn.Module
    validated_step = -1
    batch_shape: tuple[int, ...] | None = None

    def __init__(self) -> None:
        super().__init__()
        self.loss_guard = NanGuard()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute the network's logits of images `(B, C, H, W)`."""
        return self.network(images)

    def create_network(self, **facts: Any) -> nn.Module:
        """Create the network that the hyperparameters name.

        Args:
            **facts: Arguments of the model that the data say.

        Raises:
            ValueError: If the hyperparameters say one of them too.
        """
        options: Any = self.hparams
        kwargs = dict(options.model_kwargs or {})
        if stated_twice := sorted(facts.keys() & kwargs.keys()):
            raise UserError(f"model_kwargs states {', '.join(stated_twice)}; the data says so already: leave it out")
        backbone_weights = options.get("backbone_weights")
        network: Any = create_model(
            options.name, options.weights, backbone_weights=backbone_weights, new_head=True, **facts, **kwargs
        )
        if options.get("grad_checkpointing"):
            network.set_grad_checkpointing()
        if options.get("compile"):
            compile_network(network)
        return network

    def log_step(self, loss: torch.Tensor, batch_size: int) -> torch.Tensor | None:
        """Log the loss of a training step, and give it back.

        Returns:
            None if the loss is not finite and may be passed over: `training_step` is to return that, too. All processes
            then skip the batch; no weight moves, unless other batches were accumulated for the same step.

        Raises:
            TrainingError: If the loss is not finite, and `max_skipped_steps` such were passed over already.
        """
        limit = int(self.hparams.get("max_skipped_steps", 0))
        is_fine = self.loss_guard.passes(self.trainer, loss, limit)
        if limit:
            self.log("train/skipped_steps", float(self.loss_guard.skipped), on_step=False, on_epoch=True, reduce_fx=max)
        if not is_fine:
            return None
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=batch_size, sync_dist=True)
        self.log("loss", loss, prog_bar=True)
        return loss

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Remember the size of the batch."""
        self.batch_shape = _shape(batch[0])

    def on_validation_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Remember the size of the batch."""
        self.batch_shape = _shape(batch[0])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep how many losses were passed over."""
        checkpoint[_SKIPPED] = self.loss_guard.skipped

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Count on."""
        self.loss_guard.skipped = checkpoint.get(_SKIPPED, 0)

    def on_validation_epoch_end(self) -> None:
        """Remember what was validated."""
        if not self.trainer.sanity_checking:
            self.validated_step = self.global_step

    def total_steps(self) -> int:
        """Count the optimiser steps of the whole run.

        Raises:
            ValueError: If the run has no end.
        """
        steps = self.trainer.estimated_stepping_batches
        if math.isinf(steps):
            raise UserError("the schedule needs an end: set trainer.max_epochs or trainer.max_steps")
        return int(steps)

    def epoch_steps(self) -> int:
        """Count the optimiser steps of an epoch; an epoch's last batches make a step, however few they are."""
        self.trainer.fit_loop.setup_data()  # counts the batches
        return math.ceil(self.trainer.num_training_batches / self.trainer.accumulate_grad_batches)


def _shape(images: torch.Tensor | Sequence[torch.Tensor]) -> tuple[int, ...]:
    """Give the shape of a batch of images: a tensor, or a list of images of their own sizes."""
    if isinstance(images, torch.Tensor):
        return tuple(images.shape)
    return (len(images), *(max(sides) for sides in zip(*(image.shape for image in images), strict=True)))


def scheduled(optimizer: Optimizer, factor: Callable[[int], float]) -> Any:
    """Give an optimiser a schedule that moves at every step, as Lightning takes them.

    Args:
        optimizer: Holds the peak learning rates.
        factor: Computes the factor of a step.
    """
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}}


def check_model(name: str, task: str, model_kwargs: dict[str, Any] | None, model_class: type[nn.Module]) -> None:
    """Check, before any data are read, that a model fits a task and knows its options.

    Args:
        name: Name of the model, perhaps with a tag.
        task: What it must be for, as the catalog calls it.
        model_kwargs: Arguments for it.
        model_class: What takes them.

    Raises:
        ValueError: If it does not; the nearest option is proposed.
    """
    entry = find(name.partition(".")[0])
    if entry.task != task:
        raise UserError(f"{name} is a model for {entry.task}, not for {task}; choose one that `gpvit models` lists so")
    check_arguments(entry, model_kwargs or {})
