"""The demo's experiment: a recipe is trained, and what came of it is looked at from all sides."""

import csv
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from gpvit.analysis.benchmark import Report, benchmark
from gpvit.analysis.cost import Cost, profile_model
from gpvit.analysis.workload import Case
from gpvit.data.digits import digits_split
from gpvit.inference.predictor import Predictor
from gpvit.inference.result import ClassificationResult
from gpvit.models.backbone import GPViT
from gpvit.tasks.recipes import find_recipe, train_recipe

RECIPE = "digits/classify.yaml"
_QUICK = ("--trainer.max_epochs", "1")
_SPEED_SIZES, _QUICK_SPEED_SIZES = (64, 128, 256, 512), (32, 64)
_SPEED_BATCH = 4


@dataclass(frozen=True)
class Epoch:
    """What one epoch of the training led to.

    Args:
        train_loss: Mean cross-entropy of the training images, augmented, while they were learned from.
        test_loss: Mean cross-entropy of the test images afterwards.
        test_accuracy: Share of the test images that were then read right.
    """

    train_loss: float
    test_loss: float
    test_accuracy: float


@dataclass(frozen=True, eq=False)
class Experiment:
    """A trained model and everything that the report tells of it.

    Args:
        folder: The run folder, as it was given.
        command: What a shell runs to repeat it.
        settings: The recipe with everything that it leaves to defaults.
        summary: What the training wrote into `metrics.json`.
        epochs: The course of the training.
        model: With the weights after the last epoch; none were chosen by their test score.
        images: Test digits, `(N, 8, 8)`, uint8.
        labels: What they are, `(N,)`.
        results: What the model says about each.
        cost: Of reading one digit.
        speed: Of the same network on this machine.
    """

    folder: Path
    command: str
    settings: dict[str, Any]
    summary: dict[str, Any]
    epochs: Sequence[Epoch]
    model: GPViT
    images: np.ndarray
    labels: np.ndarray
    results: Sequence[ClassificationResult]
    cost: Cost
    speed: Report

    @cached_property
    def probabilities(self) -> np.ndarray:
        """`(N, classes)`: how probable the model takes each class to be."""
        return torch.stack([result.probabilities for result in self.results]).numpy()

    @property
    def answers(self) -> np.ndarray:
        """`(N,)`: the most probable class of each test digit."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def accuracy(self) -> float:
        """Share of the test digits that are read right."""
        return float((self.answers == self.labels).mean())

    @property
    def confusion(self) -> np.ndarray:
        """`(classes, classes)`: how many test digits of a class (row) are read as which (column)."""
        counts = np.zeros((self.model.num_classes,) * 2, dtype=int)
        np.add.at(counts, (self.labels, self.answers), 1)
        return counts

    @property
    def image_size(self) -> int:
        """Side in pixels of the images that the model was trained on."""
        return int(self.settings["data"]["init_args"]["image_size"])

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain data for JSON."""
        wrong = int((self.answers != self.labels).sum())
        return {
            "command": self.command,
            "test": {"accuracy": round(self.accuracy, 6), "images": len(self.labels), "wrong": wrong},
            "training": {"seconds": self.summary["seconds"], "epochs": len(self.epochs), "seed": self.summary["seed"]},
            "model": {
                "name": self.settings["model"]["init_args"]["name"],
                "parameters": self.cost.parameters,
                "macs": self.cost.macs,
            },
            "speed": self.speed.to_dict(),
        }


def run_experiment(folder: Path, command: str, seed: int = 0, quick: bool = False) -> Experiment:
    """Train the recipe, then evaluate, profile and time the model.

    Args:
        folder: The run folder, new or that of an earlier experiment, which is replaced.
        command: What a shell runs to repeat it.
        seed: Of all that is random.
        quick: Train for one epoch only and time little.

    Raises:
        ValueError: If the folder holds anything but a run.
    """
    _clear(folder)
    arguments = [str(find_recipe(RECIPE)), "--out", str(folder), "--seed_everything", str(seed)]
    # A line for each epoch also on a terminal: there are few.
    _, summary = train_recipe([*arguments, "--trainer.enable_progress_bar", "false", *(_QUICK if quick else ())])
    print("looking at the result ...", flush=True)
    return inspect_run(folder, command, summary, quick)


def inspect_run(folder: Path, command: str, summary: dict[str, Any], quick: bool = False) -> Experiment:
    """Evaluate, profile and time the model of a finished run.

    Args:
        folder: The run folder.
        command: What a shell runs to repeat it.
        summary: What `gpvit.tasks.fit` returned.
        quick: Time little.
    """
    settings = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    predictor = Predictor(folder / "last.safetensors", batch_size=64)
    model = predictor.model
    assert isinstance(model, GPViT)
    images, labels = digits_split("test")
    channels, *size = predictor.preprocessing.input_size
    name = settings["model"]["init_args"]["name"]
    device = next(model.parameters()).device
    sizes = _QUICK_SPEED_SIZES if quick else _SPEED_SIZES
    cases = [Case(name, (side, side), _SPEED_BATCH, device=str(device)) for side in sizes]
    return Experiment(
        folder=folder,
        command=command,
        settings=settings,
        summary=summary,
        epochs=_read_epochs(folder / "metrics.csv"),
        model=model,
        images=images,
        labels=labels,
        results=predictor(list(images)),
        cost=profile_model(model, (size[0], size[1]), channels),
        speed=benchmark(cases, rounds=2 if quick else 5, warmup=1, memory=False),
    )


def _clear(folder: Path) -> None:
    """Remove an earlier run."""
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / "config.yaml").is_file():
            raise ValueError(f"{folder} holds files that are no earlier run; name another --out, or move them away")
        shutil.rmtree(folder)


def _read_epochs(path: Path) -> list[Epoch]:
    """Read the log of a run, where an epoch's figures stand in several lines."""
    columns = ("train/loss", "val/loss", "val/top1")
    figures: dict[int, dict[str, float]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            known = {name: float(row[name]) for name in columns if row[name]}
            figures.setdefault(int(row["epoch"]), {}).update(known)
    return [Epoch(*(figures[epoch][name] for name in columns)) for epoch in sorted(figures)]
