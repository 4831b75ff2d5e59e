"""What a run says of itself: where it stands, its scores, and a line per epoch where no terminal shows a bar."""

import time
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from gpvit.train.monitoring import RunMonitor, in_words, learning_rate

_BAR_REFRESHES = 4  # a second


class EpochLines(Callback):
    """Prints what is trained and where, then one line after every epoch and every validation within an epoch.

    Args:
        monitor: Whose figures each line ends with; it comes before this one in the Trainer's callbacks.
    """

    def __init__(self, monitor: RunMonitor | None = None) -> None:
        self.monitor = monitor
        self.start = time.monotonic()
        self._validated = ""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the number of parameters, the device and the run folder."""
        parameters = sum(parameter.numel() for parameter in pl_module.parameters())
        device, folder = trainer.strategy.root_device, trainer.default_root_dir
        processes = f" in {trainer.world_size} processes" if trainer.world_size > 1 else ""
        _print(f"{parameters / 1e6:.2f} M parameters on {device}{processes}, run folder {folder}")
        self.start = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the scores of a validation until it is known that no epoch's end, which says them too, follows."""
        if not trainer.sanity_checking and not validates_by_epoch(trainer):
            self._validated = self._line(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Print the scores of the validation that the epoch went on after."""
        if self._validated:
            _print(self._validated)
            self._validated = ""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the epoch's metrics."""
        self._validated = ""
        _print(self._line(trainer))

    def _line(self, trainer: Trainer) -> str:
        ((unit, count),) = position(trainer).items()
        end = trainer.max_epochs if unit == "epoch" else trainer.estimated_stepping_batches
        values = "  ".join(f"{name} {value:.4f}" for name, value in sorted(current_metrics(trainer).items()))
        figures = in_words(self.monitor.refresh(trainer)) if self.monitor else {}
        now = time.monotonic()
        seconds, self.start = now - self.start, now
        shown = [
            f"{value} {name}" if name in ("images/s", "left") else f"{name} {value}" for name, value in figures.items()
        ]
        return "  ".join(
            [f"{unit} {count}/{end}", values, f"lr {learning_rate(trainer):.2g}", f"{seconds:.1f} s", *shown]
        )


class RunBar(RichProgressBar):
    """A progress bar with the figures of a `RunMonitor`, refreshed a few times a second and not at every step.

    Reading a metric waits for the device, so that a bar that follows every step would slow training down.

    Args:
        monitor: Whose figures it shows.
    """

    def __init__(self, monitor: RunMonitor) -> None:
        super().__init__(leave=True)
        self.monitor = monitor
        self._refreshed = 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move on, if it is time to."""
        now = time.monotonic()
        if now - self._refreshed >= 1 / _BAR_REFRESHES or batch_idx + 1 >= trainer.num_training_batches:
            self._refreshed = now
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> Any:
        """Return what is written beside the bar."""
        shown = {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}
        return {**shown, **in_words(self.monitor.refresh(trainer))}


class DataReport(Callback):
    """Has the data, if they can, write what they found into the run folder before training starts."""

    @rank_zero_only
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Call the data module's `write_report`."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if hasattr(data, "write_report"):
            data.write_report(Path(trainer.default_root_dir))


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
