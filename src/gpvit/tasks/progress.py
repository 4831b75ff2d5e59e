"""What a run says where no terminal shows a progress bar: one line per epoch."""

import time

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_only


class EpochLines(Callback):
    """Prints what is trained and where, then one line after every epoch."""

    def __init__(self) -> None:
        self.epoch_start = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the number of parameters, the device and the run folder."""
        parameters = sum(parameter.numel() for parameter in pl_module.parameters())
        device, folder = trainer.strategy.root_device, trainer.default_root_dir
        _print(f"{parameters / 1e6:.2f} M parameters on {device}, run folder {folder}")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self.epoch_start = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the epoch's metrics."""
        values = "  ".join(f"{name} {value:.4f}" for name, value in sorted(epoch_metrics(trainer).items()))
        seconds = time.monotonic() - self.epoch_start
        _print(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {values}  {seconds:.1f} s")


def epoch_metrics(trainer: Trainer) -> dict[str, float]:
    """Return the metrics of the epoch, `PHASE/METRIC`; names without a phase (`loss`, `lr`) are of the last step."""
    return {name: round(float(value), 6) for name, value in trainer.callback_metrics.items() if "/" in name}


@rank_zero_only
def _print(line: str) -> None:
    print(line, flush=True)
