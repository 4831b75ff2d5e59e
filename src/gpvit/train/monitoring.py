"""Figures of a running training: images a second, waiting for data, peak memory and the time that is left."""

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from lightning import Callback, LightningModule, Trainer

from gpvit.devices import peak_memory

GIB = 2**30


@dataclass
class Stretch:
    """Some consecutive steps.

    Attributes:
        images: Images of all processes.
        seconds: How long the steps took, with the wait for their data and without validation.
        waited: The part of these seconds in which this process waited for its batches.
    """

    images: int = 0
    seconds: float = 0.0
    waited: float = 0.0

    def add(self, images: int, seconds: float, waited: float) -> None:
        """Count one more step."""
        self.images += images
        self.seconds += seconds
        self.waited += waited

    def figures(self) -> dict[str, float]:
        """Compute `speed/images_per_s` and `speed/data_wait`, a share between 0 and 1; nothing before any step."""
        if not self.seconds:
            return {}
        return {"speed/images_per_s": self.images / self.seconds, "speed/data_wait": self.waited / self.seconds}


class RunMonitor(Callback):
    """Logs how fast training goes, with the loggers' interval and for each epoch, and with the interval also `lr`.

    To the two of `Stretch` come `speed/eta_s`, the seconds to the end at the mean pace of this run so far, its
    validations included, and `memory/peak_gib`: on a GPU what torch had allocated at the most, on a CPU the most
    resident memory of this process. Nothing of it waits for the device, and most steps only read the clock.

    Attributes:
        figures: The last ones, by name.
    """

    def __init__(self) -> None:
        self.figures: dict[str, float] = {}
        self._recent, self._epoch = Stretch(), Stretch()
        self._begun = self._mark = self._arrived = time.perf_counter()
        self._first_step = 0
        self._total_steps = float("inf")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start counting, at the step that a resumed run starts with."""
        self._first_step, self._total_steps = trainer.global_step, trainer.estimated_stepping_batches
        self._begun = self._mark = time.perf_counter()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start counting the epoch."""
        self._recent, self._epoch = Stretch(), Stretch()
        self._mark = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Note when the batch was there."""
        self._arrived = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the step, and log where the loggers do."""
        now = time.perf_counter()
        step = (len(batch[0]) * trainer.world_size, now - self._mark, self._arrived - self._mark)
        self._recent.add(*step)
        self._epoch.add(*step)
        self._mark = now
        if trainer._logger_connector.should_update_logs:
            pl_module.log("lr", learning_rate(trainer), rank_zero_only=True)
            self._log(trainer, pl_module, self._recent)
            self._recent = Stretch()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the validation out of the next step."""
        self._mark = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the whole epoch's figures."""
        self._log(trainer, pl_module, self._epoch)

    def refresh(self, trainer: Trainer) -> dict[str, float]:
        """Bring `figures` up to the present, for the epoch so far, and return them."""
        self._update(trainer, self._epoch)
        return self.figures

    def _log(self, trainer: Trainer, pl_module: LightningModule, stretch: Stretch) -> None:
        self._update(trainer, stretch)
        for name, value in self.figures.items():
            pl_module.log(name, value, rank_zero_only=True)

    def _update(self, trainer: Trainer, stretch: Stretch) -> None:
        figures = stretch.figures()
        if (done := trainer.global_step - self._first_step) and self._total_steps != float("inf"):
            pace = (time.perf_counter() - self._begun) / done
            figures["speed/eta_s"] = pace * max(self._total_steps - trainer.global_step, 0)
        if (peak := peak_memory(trainer.strategy.root_device)) is not None:
            figures["memory/peak_gib"] = peak / GIB
        self.figures = {**self.figures, **figures}


def learning_rate(trainer: Trainer) -> float:
    """Return the highest learning rate of all groups of parameters."""
    return float(max(group["lr"] for group in trainer.optimizers[0].param_groups))


def in_words(figures: dict[str, float]) -> dict[str, str]:
    """Write the figures of `RunMonitor` for people, by short names.

    Example:
        >>> in_words({"speed/images_per_s": 812.3, "speed/data_wait": 0.034, "speed/eta_s": 3725.4})
        {'images/s': '812', 'wait': '3 %', 'left': '1:02:05'}
    """
    written = {
        "images/s": ("speed/images_per_s", lambda value: f"{value:.3g}" if value < 100 else f"{value:.0f}"),
        "wait": ("speed/data_wait", lambda value: f"{100 * value:.0f} %"),
        "memory": ("memory/peak_gib", lambda value: f"{value:.2f} GiB"),
        "left": ("speed/eta_s", lambda value: str(timedelta(seconds=round(value)))),
    }
    return {short: write(figures[name]) for short, (name, write) in written.items() if name in figures}
