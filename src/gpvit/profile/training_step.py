"""The time of a training step as a recipe has it, on one device and with the data at hand."""

import math
import time
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from gpvit.data.module import ImageData
from gpvit.devices import choose_device
from gpvit.train.overfit_one_batch import OneBatch
from gpvit.train.recipes import RecipeCLI
from gpvit.train.trainer import quiet

_KEPT = ("precision", "gradient_clip_val", "gradient_clip_algorithm", "accumulate_grad_batches", "benchmark")
"""Settings of the Trainer that bear on the time of a step."""


class TrainingStep:
    """A task and a Trainer for one device, which takes steps and neither logs nor writes.

    Args:
        task: What trains.
        device: `cpu` or `cuda`.
        **settings: Arguments of Lightning's Trainer, as a recipe gives them; what bears on the time of a step is kept.
            Precision 16-mixed, which a CPU does not compute in, is 32-true there.

    Attributes:
        device: As given.
    """

    def __init__(self, task: LightningModule, device: str, **settings: Any) -> None:
        self.device = device
        self._task: Any = task
        kept = {name: settings[name] for name in _KEPT if settings.get(name) is not None}
        if device == "cpu" and str(kept.get("precision", "")).startswith("16"):
            kept["precision"] = "32-true"
        self._clock = _Clock()
        self._trainer = Trainer(
            **kept,
            accelerator=device,
            devices=1,
            max_epochs=1,
            limit_val_batches=0,
            callbacks=[self._clock],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

    def images_per_second(self, data: ImageData, batch: Any, rounds: int, warmup: int) -> float:
        """Train on one batch again and again.

        Args:
            data: What the batch is from; the model is built for it.
            batch: As the training loader gives it.
            rounds: Batches that are timed, from when one lies on the device until the optimiser has stepped.
            warmup: Batches beforehand.
        """
        for name in ("base_batch_size", "weights", "backbone_weights"):  # no bearing on time, and perhaps not at hand
            if name in self._task.hparams:
                self._task.hparams[name] = None
        part = self._trainer.accumulate_grad_batches
        before, timed = (math.ceil(count / part) * part for count in (warmup, rounds))
        with quiet(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "the run ends before its learning rate falls")
            self._trainer.fit(self._task, datamodule=OneBatch(data, batch, before + timed))
        return len(batch[0]) * timed / sum(self._clock.seconds[before:])


def open_recipe(arguments: Sequence[str], device: str) -> tuple[ImageData, TrainingStep]:
    """Build the data and the training step of a recipe.

    Args:
        arguments: As `gpvit train` takes them: recipes, then what overrides them.
        device: `cpu` or `cuda`.

    Raises:
        FileNotFoundError: There is no such recipe, or its data are missing.
        ValueError: A setting is unknown or wrong, or there is no such device.
    """
    choose_device(device)
    with quiet():
        cli: Any = _OneDeviceCLI(arguments)
        return cli.datamodule, TrainingStep(cli.model, device, **cli.config_init.trainer)


class _OneDeviceCLI(RecipeCLI):
    """Reads a recipe as training does, but builds no Trainer, which might ask for devices that are not here."""

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        return None


class _Clock(Callback):
    """Notes the seconds of every training batch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._start = 0.0

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        self._start = _now(trainer)

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        self.seconds.append(_now(trainer) - self._start)


def _now(trainer: Trainer) -> float:
    if trainer.strategy.root_device.type == "cuda":
        torch.cuda.synchronize(trainer.strategy.root_device)
    return time.perf_counter()
