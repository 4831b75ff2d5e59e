"""The trainings of the demo, and what their run folders say."""

import csv
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from gpvit.errors import UserError
from gpvit.train.recipes import train_recipe

_RUN_FILES = (  # what `gpvit train` writes into a run folder
    "config.yaml",
    "metrics.csv",
    "metrics.json",
    "events.out.tfevents.*",
    "last.ckpt",
    "previous.ckpt",
    "last.safetensors",
    "best.safetensors",
    "data.png",
    "labels.csv",
    "boxes.csv",
)


@dataclass(frozen=True, eq=False)
class Run:
    """A finished training in its folder.

    Args:
        folder: The run folder.
        settings: All settings, those left to defaults too.
        summary: What `gpvit.train.loop.fit` returned.
        rows: The rows of `metrics.csv`, numbers by the metric's name.
    """

    folder: Path
    settings: dict[str, Any]
    summary: dict[str, Any]
    rows: list[dict[str, float]]

    @property
    def weights(self) -> Path:
        """The weights after the last step; none were chosen by their test score."""
        return self.folder / "last.safetensors"

    @property
    def steps(self) -> int:
        """Optimiser steps of the training."""
        return int(self.rows[-1]["step"])

    def curve(self, metric: str) -> list[tuple[float, float]]:
        """Give the points `(epoch or step, value)` of a metric."""
        axis = "epoch" if self.settings["train"].get("epochs") else "step"
        return [(row[axis], row[metric]) for row in self.rows if metric in row]


def train(recipe: str, folder: Path, seed: int, settings: Sequence[str] = ()) -> Run:
    """Train a recipe.

    Args:
        recipe: Path of the recipe, from the repository's root.
        folder: The run folder, empty or missing.
        seed: Of everything random.
        settings: What differs from the recipe, as `gpvit train` takes it.
    """
    _, summary = train_recipe([recipe, "--out", str(folder), "--train.seed", str(seed), *settings])
    return open_run(folder, summary)


def open_run(folder: Path, summary: dict[str, Any]) -> Run:
    """Read the folder of a finished run."""
    settings = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    return Run(folder, settings, summary, rows)


def remove_runs(folders: Sequence[Path]) -> None:
    """Remove the run folders of an earlier demo, all of them or none.

    Raises:
        UserError: If one holds a file that `gpvit train` does not write.
    """
    existing = [folder for folder in folders if folder.is_dir()]
    for folder in existing:
        names = {str(path.relative_to(folder)) for path in folder.rglob("*")}
        foreign = sorted(name for name in names if not any(fnmatch(name, known) for known in _RUN_FILES))
        if foreign or (names and not _is_run(folder)):
            what = f", such as {foreign[0]}" if foreign else ""
            raise UserError(f"{folder} holds files that are not of an earlier demo{what}: name another --out")
    for folder in existing:
        shutil.rmtree(folder)


def _is_run(folder: Path) -> bool:
    try:
        settings = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return False
    return isinstance(settings, dict) and "Digit" in str((settings.get("data") or {}).get("class"))
