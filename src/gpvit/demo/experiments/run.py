"""A recipe, trained: where its run lies and how it went."""

import csv
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gpvit.errors import UserError
from gpvit.train.recipes import find_recipe, train_recipe


@dataclass(frozen=True, eq=False)
class Run:
    """A finished training in its folder.

    Args:
        folder: The run folder, as it was given.
        settings: The recipe with everything that it leaves to defaults.
        summary: What the training wrote into `metrics.json`.
        curves: What was logged, by its name, as `val/loss`, and by epoch, counted from 1.
    """

    folder: Path
    settings: dict[str, Any]
    summary: dict[str, Any]
    curves: dict[str, dict[int, float]]

    @property
    def weights(self) -> Path:
        """The weights after the last epoch; none were chosen by their test score."""
        return self.folder / "last.safetensors"

    @property
    def task(self) -> dict[str, Any]:
        """Arguments of the task, as `name` and `lr`."""
        return self.settings["model"]["init_args"]

    @property
    def data(self) -> dict[str, Any]:
        """Arguments of the data module, as `batch_size`."""
        return self.settings["data"]["init_args"]

    @property
    def epochs(self) -> int:
        """How many epochs were trained."""
        return int(self.settings["trainer"]["max_epochs"])

    @property
    def steps(self) -> int:
        """How many steps the optimiser took, each for a batch."""
        return int(max(self.curves["step"].values())) + 1

    @property
    def seconds(self) -> float:
        """How long the training took, with the tests after its epochs."""
        return float(self.summary["seconds"])


def train(recipe: str, folder: Path, seed: int, overrides: Sequence[str] = ()) -> Run:
    """Train a recipe.

    Args:
        recipe: As `find_recipe` takes it.
        folder: The run folder, new.
        seed: Of all that is random.
        overrides: Settings in place of the recipe's, as `gpvit train` takes them.
    """
    own = ["--out", str(folder), "--seed_everything", str(seed)]
    # A line for each epoch also on a terminal: there are few.
    _, summary = train_recipe([str(find_recipe(recipe)), *own, "--trainer.enable_progress_bar", "false", *overrides])
    return open_run(folder, summary)


def open_run(folder: Path, summary: dict[str, Any]) -> Run:
    """Read the folder of a finished run.

    Args:
        folder: The run folder.
        summary: What `gpvit.tasks.fit` returned.
    """
    settings = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    return Run(folder, settings, summary, _read_curves(folder / "metrics.csv"))


def remove_runs(folders: Sequence[Path]) -> None:
    """Remove earlier runs, all of them or none.

    Args:
        folders: Run folders; those that do not exist or are empty may stand among them.

    Raises:
        ValueError: If one holds anything but a run.
    """
    full = [folder for folder in folders if folder.is_dir() and any(folder.iterdir())]
    for folder in full:
        if not (folder / "config.yaml").is_file():
            raise UserError(f"{folder} holds files that are no earlier run; name another --out, or move them away")
    for folder in full:
        shutil.rmtree(folder)


def _read_curves(path: Path) -> dict[str, dict[int, float]]:
    """Read the log of a run, where an epoch's figures stand in several lines."""
    curves: dict[str, dict[int, float]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            epoch = int(row.pop("epoch")) + 1
            for name, value in row.items():
                if value:
                    curves.setdefault(name, {})[epoch] = float(value)
    return curves
