"""The weights that a run leaves behind."""

from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from gpvit.train.checkpointing import full_disk
from gpvit.train.progress import current_metrics, position
from gpvit.train.sharding import unsharded
from gpvit.zoo.files import save

_KEY = "gpvit_weights"


class WeightsWriter(Callback):
    """Writes `last.safetensors` at each epoch's or validation's end, and `best.safetensors` when the score improves.

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
        """Write what Lightning is about to save, unless it is saved between epochs' or validations' ends."""
        if any(getattr(saver, "in_between", False) for saver in trainer.checkpoint_callbacks):
            checkpoint[_KEY] = {"best": self.best, "last": self.last, "last_step": self.last_step}
            return
        metrics = current_metrics(trainer)
        self.last = {**position(trainer), **metrics}
        self.last_step = trainer.global_step
        metric = str(pl_module.best_metric)
        improved = metric in metrics and metrics[metric] > self.best.get(metric, float("-inf"))
        if improved:
            self.best = self.last
        checkpoint[_KEY] = {"best": self.best, "last": self.last, "last_step": self.last_step}
        if trainer.is_global_zero:
            self.write(trainer, pl_module, checkpoint["state_dict"], ["last", "best"] if improved else ["last"])

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Remember the score that a resumed run has to beat."""
        self.best, self.last = checkpoint[_KEY]["best"], checkpoint[_KEY]["last"]
        self.last_step = checkpoint[_KEY].get("last_step", checkpoint["global_step"])

    def write(self, trainer: Trainer, pl_module: LightningModule, state_dict: dict[str, Any], names: list[str]) -> None:
        """Write weights of the task's network under some names.

        Args:
            trainer: Whose data say what the weights are for.
            pl_module: The task.
            state_dict: Whole tensors by their names in the task.
            names: Of the files, without their ending.

        Raises:
            OSError: If they cannot be written, as on a full disk; files of these names stay as they were.
        """
        network: Any = unsharded(pl_module.network)  # type: ignore[arg-type]
        prefix = "network."
        own = {n.removeprefix(prefix): t for n, t in state_dict.items() if n.startswith(prefix)}
        network.load_state_dict(own, assign=True)
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        inputs = data.preprocessing.to_dict() if data.preprocessing else {}  # detectors prepare images themselves
        if hasattr(data, "colors"):
            inputs["label_colors"] = [list(color) for color in data.colors]
        if hasattr(data, "categories"):
            inputs["category_ids"] = list(data.categories.ids)
        for name in names:
            path = self.folder / f"{name}.safetensors"
            try:
                save(network, path, data.class_names, inputs)
            except OSError as error:
                raise full_disk(error, path, sum(tensor.nbytes for tensor in own.values())) from error
