"""What all tasks share: a network for the data, a loss that must be finite, a schedule that knows its end."""

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from lightning import LightningModule
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from gpvit.models.catalog import create_model, find
from gpvit.models.options import check_options


class Task(LightningModule):
    """Trains a model of the catalog.

    A subclass takes `name`, `model_kwargs` and `weights`, and perhaps `backbone_weights`, as hyperparameters.

    Attributes:
        best_metric: The metric that tells the best weights; higher is better.
        network: What is trained; there is none before the Trainer knows the data.
        validated_step: Optimiser steps taken when the weights were last validated.
    """

    best_metric: str
    network: nn.Module
    validated_step = -1

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
            raise ValueError(f"model_kwargs states {', '.join(stated_twice)}; the data says so already: leave it out")
        backbone_weights = options.get("backbone_weights")
        return create_model(
            options.name, options.weights, backbone_weights=backbone_weights, new_head=True, **facts, **kwargs
        )

    def log_step(self, loss: torch.Tensor, batch_size: int) -> torch.Tensor:
        """Log the loss and the learning rate of a training step, and give the loss back.

        Raises:
            ValueError: If the loss is not finite.
        """
        if not loss.isfinite():
            raise ValueError(
                f"the loss is {loss.item()} at step {self.global_step}, so nothing more can be learned; "
                "lower lr, or clip gradients: trainer.gradient_clip_val 1.0"
            )
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=batch_size, sync_dist=True)
        self.log("loss", loss, prog_bar=True)
        self.log("lr", max(group["lr"] for group in self.trainer.optimizers[0].param_groups))
        return loss

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
            raise ValueError("the schedule needs an end: set trainer.max_epochs or trainer.max_steps")
        return int(steps)

    def epoch_steps(self) -> int:
        """Count the optimiser steps of an epoch; an epoch's last batches make a step, however few they are."""
        self.trainer.fit_loop.setup_data()  # counts the batches
        return math.ceil(self.trainer.num_training_batches / self.trainer.accumulate_grad_batches)


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
        raise ValueError(f"{name} is a model for {entry.task}, not for {task}; choose one that `gpvit models` lists so")
    check_options("model_kwargs: the model", model_kwargs or {}, inspect.signature(model_class).parameters)
