"""The weights that a run leaves behind."""

from copy import deepcopy
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from gpvit.models.checkpoints import save
from gpvit.tasks.progress import current_metrics, position

_KEY = "gpvit_weights"


class WeightsWriter(Callback):
    """Writes `last.safetensors` with every checkpoint of Lightning's, and `best.safetensors` when the score improves.

    The files describe themselves: `gpvit.load` needs nothing else. They hold what was validated: averaged weights
    where a callback of Lightning's averages them, if that callback comes first.

    Args:
        folder: Where to write.

    Attributes:
        best: Metrics of the best weights, with the number of epochs or steps that led to them; empty before the first.
        last: The same of the last weights.
        last_step: Optimiser steps that led to the last weights.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.best: dict[str, float] = {}
        self.last: dict[str, float] = {}
        self.last_step = 0

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Write what Lightning is about to save."""
        metrics = current_metrics(trainer)
        self.last = {**position(trainer), **metrics}
        self.last_step = trainer.global_step
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
        self.last_step = checkpoint["global_step"]

    def _write(
        self, trainer: Trainer, pl_module: LightningModule, state_dict: dict[str, Any], names: list[str]
    ) -> None:
        network: Any = deepcopy(pl_module.network)
        prefix = "network."
        network.load_state_dict({n.removeprefix(prefix): t for n, t in state_dict.items() if n.startswith(prefix)})
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        inputs = data.preprocessing.to_dict() if data.preprocessing else {}  # detectors prepare images themselves
        if hasattr(data, "colors"):
            inputs["label_colors"] = [list(color) for color in data.colors]
        if hasattr(data, "categories"):
            inputs["category_ids"] = list(data.categories.ids)
        for name in names:
            save(network, self.folder / f"{name}.safetensors", data.class_names, inputs)
