"""The trainings of the demo, and what their run folders say."""

import csv
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from gpvit.errors import UserError
from gpvit.train.recipes import train_recipe

RUNS = ("run", "segmentation", "detection")
"""The demo's run folders, in its own."""

_REPORT = ("report.html", "metrics.json")
_RUN_FILES = (  # what `gpvit train` writes into a run folder
    *("config.yaml", "metrics.csv", "metrics.json", "events.out.tfevents.*", "data.png", "labels.csv", "boxes.csv"),
    *(".lock", "last.ckpt", "previous.ckpt", "last.safetensors", "best.safetensors"),
)


@dataclass(frozen=True, eq=False)
class Run:
    """A finished training: its folder, all its settings, and what `gpvit.train.fit` returned."""

    folder: Path
    settings: dict[str, Any]
    summary: dict[str, Any]

    @property
    def weights(self) -> Path:
        """The weights after the last step; none were chosen by their test score."""
        return self.folder / "last.safetensors"

    @property
    def data_options(self) -> dict[str, Any]:
        """The arguments of the data module."""
        return {name: value for name, value in self.settings["data"].items() if name != "class"}

    @cached_property
    def rows(self) -> list[dict[str, float]]:
        """The rows of `metrics.csv`: numbers by the metric's name."""
        with (self.folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
            return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]

    @property
    def axis(self) -> str:
        """What the length of the run is counted in, "epoch" or "step"."""
        return "epoch" if self.settings["train"].get("epochs") else "step"

    def curve(self, metric: str) -> list[tuple[float, float]]:
        """Give the points `(epoch or step, value)` of a metric."""
        return [(row[self.axis], row[metric]) for row in self.rows if metric in row]


def train(recipe: str, folder: Path, seed: int, options: Sequence[str] = ()) -> Run:
    """Train a recipe, with options as `gpvit train` takes them."""
    _, summary = train_recipe([f"recipes/{recipe}", "--out", str(folder), "--train.seed", str(seed), *options])
    return Run(folder, _settings(folder), summary)


def remove_runs(out: Path) -> None:
    """Remove the runs of an earlier demo in a folder, all of them or, where anything else would be lost, none."""
    runs = [out / name for name in RUNS if (out / name).exists()]
    for run in runs:
        names = {str(path.relative_to(run)) for path in run.rglob("*")} if run.is_dir() else {run.name}
        foreign = sorted(name for name in names if not any(fnmatch(name, known) for known in _RUN_FILES))
        if foreign or (names and "Digit" not in str((_settings(run).get("data") or {}).get("class"))):
            what = f", such as {foreign[0]}" if foreign else ""
            raise UserError(f"{run} holds files that are not of an earlier demo{what}: name another --out")
    if not runs and (others := [name for name in _REPORT if (out / name).exists()]):
        raise UserError(f"{out} holds {others[0]} and no runs of an earlier demo: name another --out")
    for run in runs:
        shutil.rmtree(run)


def _settings(folder: Path) -> dict[str, Any]:
    """Read the settings of a run; none where there is no such file."""
    try:
        settings = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return settings if isinstance(settings, dict) else {}
