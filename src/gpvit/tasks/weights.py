"""The weights that a run leaves behind."""

from copy import deepcopy
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from gpvit.models.checkpoints import save
from gpvit.tasks.progress import epoch_metrics

_KEY = "gpvit_weights"


class WeightsWriter(Callback):
    """Writes `last.safetensors` with every checkpoint of Lightning's, and `best.safetensors` when the score improves.

    The files describe themselves: `gpvit.load` needs nothing else. They hold what was validated: averaged weights
    where a callback of Lightning's averages them, if that callback comes first.

    Args:
        folder: Where to write.

    Attributes:
        best: Metrics of the best weights, with the number of epochs that led to them; empty before the first.
        last: The same of the last weights.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.best: dict[str, float] = {}
        self.last: dict[str, float] = {}

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Write what Lightning is about to save."""
        metrics = epoch_metrics(trainer)
        self.last = {"epoch": trainer.current_epoch + 1, **metrics}
        metric = str(pl_module.best_metric)
        improved = metric in metrics and metrics[metric] > self.best.get(metric, float("-inf"))
        if improved:
            self.best = self.last
        checkpoint[_KEY] = {"best": self.best, "last": self.last}
        if trainer.is_global_zero:
            self._write(trainer, pl_module, checkpoint["state_dict"], ["last", "best"] if improved else ["last"])

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Remember the score that a resumed run has to beat."""
        self.best, self.last = checkpoint[_KEY]["best"], checkpoint[_KEY]["last"]

    def _write(
        self, trainer: Trainer, pl_module: LightningModule, state_dict: dict[str, Any], names: list[str]
    ) -> None:
        network: Any = deepcopy(pl_module.network)
        prefix = "network."
        network.load_state_dict({n.removeprefix(prefix): t for n, t in state_dict.items() if n.startswith(prefix)})
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        for name in names:
            save(network, self.folder / f"{name}.safetensors", data.class_names, data.preprocessing.to_dict())
