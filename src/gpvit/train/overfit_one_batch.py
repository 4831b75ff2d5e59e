"""One batch learned by heart: what a network, its loss and its labels must be able to do before anything else."""

import time
from collections.abc import Iterator
from itertools import repeat
from typing import Any

import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader

from gpvit.data.module import ImageData
from gpvit.devices import peak_memory
from gpvit.train.batch_stats import describe

_WARMUP_STEPS = 5
_SETTLED = 3  # losses in a row, for heads that draw samples give a loss that jumps


class OneBatch(LightningDataModule):
    """Data that train on one batch again and again, and are otherwise as they were.

    Args:
        data: The data.
        batch: What they gave.
        repeats: How often it comes.
    """

    def __init__(self, data: ImageData, batch: Any, repeats: int) -> None:
        super().__init__()
        self.data = data
        self.batch = batch
        self.repeats = repeats

    def __getattr__(self, name: str) -> Any:
        if name == "data":  # not set yet, while a copy is made
            raise AttributeError(name)
        return getattr(self.data, name)

    def train_dataloader(self) -> "_Repeated":
        """Give the batch."""
        return _Repeated(self.batch, self.repeats)

    def val_dataloader(self) -> DataLoader[Any]:
        """Load validation images."""
        return self.data.val_dataloader()


class _Repeated:
    """A loader of one batch; Lightning would take a list for several loaders."""

    def __init__(self, batch: Any, repeats: int) -> None:
        self.batch = batch
        self.repeats = repeats

    def __len__(self) -> int:
        return self.repeats

    def __iter__(self) -> Iterator[Any]:
        return repeat(self.batch, self.repeats)


class Overfit(Callback):
    """Lets a task learn one batch by heart, and stops when it can.

    What stands in the way of that, mixed images, smoothed labels, dropout and stochastic depth, is left out, and the
    learning rate is its peak after a few steps.

    Args:
        part: Of the first loss, what it must fall to.

    Attributes:
        losses: Of every step.
        seconds: Of every step, from its batch to the next one's.
        val_seconds: Of every validation batch.
        without_gradient: Parameters that learn, but that no gradient reached in a step.
        lr: The highest learning rate.
        output: What the network gives in evaluation, in words.
        memory: Most bytes in use, or None where the system does not tell.
        weights_bytes: Size of the network's tensors.
        optimizer_bytes: Size of what the optimiser remembers.
    """

    def __init__(self, part: float) -> None:
        self.part = part
        self.losses: list[float] = []
        self.seconds: list[float] = []
        self.val_seconds: list[float] = []
        self.without_gradient: list[str] = []
        self.lr = 0.0
        self.output = ""
        self.memory: int | None = None
        self.weights_bytes = self.optimizer_bytes = 0
        self._mark = 0.0

    @property
    def has_fallen(self) -> bool:
        """Whether the last losses are all as low as they must be."""
        last = self.losses[-_SETTLED:]
        return len(self.losses) > _SETTLED and max(last) <= self.part * self.losses[0]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave out what stands in the way."""
        task: Any = pl_module
        if getattr(task, "mixup", None) is not None:
            task.mixup = None
        for name, value in (("label_smoothing", 0.0), ("max_skipped_steps", 0)):
            if name in task.hparams:
                task.hparams[name] = value
        for module in task.network.modules():
            for name in _chances(module):
                setattr(module, name, 0.0)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Set the learning rate."""
        self._mark = _now(trainer)
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = group["initial_lr"] * min((batch_idx + 1) / _WARMUP_STEPS, 1)
            self.lr = max(self.lr, group["lr"])

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look, in the first step, for parameters that get no gradient."""
        if not self.losses:
            parameters = pl_module.named_parameters()
            self.without_gradient = [name for name, p in parameters if p.requires_grad and p.grad is None]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the loss, and stop once it is low."""
        self.losses.append(float(outputs["loss"]))
        self.seconds.append(_now(trainer) - self._mark)
        trainer.should_stop = self.has_fallen

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note sizes, memory and what the network gives."""
        task: Any = pl_module
        self.memory = peak_memory(trainer.strategy.root_device)
        self.weights_bytes = _bytes(task.network.state_dict())
        self.optimizer_bytes = _bytes(trainer.optimizers[0].state)
        images = trainer.strategy.batch_to_device(trainer.datamodule.batch[0])  # type: ignore[attr-defined]
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            task.network.eval()
            self.output = describe(task.network(images))

    def on_validation_batch_start(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Begin to count, with the first batch, for it comes with the start of the loader."""
        self._mark = _now(trainer)

    def on_validation_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Count the seconds of a batch."""
        self.val_seconds.append(_now(trainer) - self._mark)


def _chances(module: nn.Module) -> Iterator[str]:
    """Name the attributes of a module that say how likely something is dropped."""
    if isinstance(module, nn.modules.dropout._DropoutNd):
        yield "p"
    yield from (name for name in ("drop_prob", "drop_rate") if isinstance(getattr(module, name, None), float))


def _now(trainer: Trainer) -> float:
    if trainer.strategy.root_device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _bytes(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    return sum(map(_bytes, value.values())) if isinstance(value, dict) else 0
