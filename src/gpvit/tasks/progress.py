"""What a run says of itself: where it stands, its scores, and a line per epoch where no terminal shows a bar."""

import time
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_only


class EpochLines(Callback):
    """Prints what is trained and where, then one line after every epoch and every validation within an epoch."""

    def __init__(self) -> None:
        self.start = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the number of parameters, the device and the run folder."""
        parameters = sum(parameter.numel() for parameter in pl_module.parameters())
        device, folder = trainer.strategy.root_device, trainer.default_root_dir
        _print(f"{parameters / 1e6:.2f} M parameters on {device}, run folder {folder}")
        self.start = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the scores of a validation that no epoch's end will report."""
        if not trainer.sanity_checking and not validates_by_epoch(trainer):
            self._line(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the epoch's metrics."""
        self._line(trainer)

    def _line(self, trainer: Trainer) -> None:
        ((unit, count),) = position(trainer).items()
        end = trainer.max_epochs if unit == "epoch" else trainer.estimated_stepping_batches
        values = "  ".join(f"{name} {value:.4f}" for name, value in sorted(current_metrics(trainer).items()))
        now = time.monotonic()
        _print(f"{unit} {count}/{end}  {values}  {now - self.start:.1f} s")
        self.start = now


class DataReport(Callback):
    """Has the data, if they can, write what they found into the run folder before training starts."""

    @rank_zero_only
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Call the data module's `report`."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if hasattr(data, "report"):
            data.report(Path(trainer.default_root_dir))


def validates_by_epoch(trainer: Trainer) -> bool:
    """Tell whether each epoch ends with a validation, and no other takes place."""
    return trainer.check_val_every_n_epoch == 1 and trainer.val_check_interval == 1.0


def position(trainer: Trainer) -> dict[str, int]:
    """Say how far training is, at the end of an epoch or of a validation: `epoch`, or `step` where steps are counted.

    Steps are counted where a run's length or its validations are set in steps.
    """
    if validates_by_epoch(trainer) and (trainer.max_epochs or -1) > 0:
        return {"epoch": trainer.current_epoch + 1}
    return {"step": trainer.global_step}


def current_metrics(trainer: Trainer) -> dict[str, float]:
    """Return the metrics of the current weights, `PHASE/METRIC`, without those of a validation of earlier weights.

    Names without a phase (`loss`, `lr`) are of the last step and left out. Training's are means over the last epoch.
    """
    task: Any = trainer.lightning_module
    fresh = ("train/", "val/") if task.validated_step == trainer.global_step else ("train/",)
    return {name: round(float(v), 6) for name, v in trainer.callback_metrics.items() if name.startswith(fresh)}


@rank_zero_only
def _print(line: str) -> None:
    print(line, flush=True)
