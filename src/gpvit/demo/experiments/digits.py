"""Reading single digits: a classifier, and what came of its training."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gpvit.data.synthetic.digits import digits_split
from gpvit.demo.experiments.run import Run, train
from gpvit.inference.predictor import Predictor
from gpvit.inference.results.classification import ClassificationResult
from gpvit.models.backbone import GPViT
from gpvit.profile.benchmark import Report, benchmark
from gpvit.profile.cost import Cost, profile_model
from gpvit.profile.workload import Case

RECIPE = "digits/classify.yaml"
_QUICK = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "4")
_SPEED_SIZES, _QUICK_SPEED_SIZES = (64, 128, 256, 512), (32, 64)
_SPEED_BATCH = 4


@dataclass(frozen=True, eq=False)
class DigitsExperiment:
    """A trained classifier and everything that the report tells of it.

    Args:
        run: Its training.
        model: With the weights after the last epoch.
        images: Test digits, `(N, 8, 8)`, uint8.
        labels: What they are, `(N,)`.
        results: What the model says about each.
        cost: Of reading one digit.
        speed: Of the same network on this machine.
    """

    run: Run
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
        return int(self.run.data["image_size"])

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain data for JSON."""
        wrong = int((self.answers != self.labels).sum())
        return {
            "test": {"accuracy": round(self.accuracy, 6), "images": len(self.labels), "wrong": wrong},
            "training": {"seconds": self.run.seconds, "epochs": self.run.epochs, "seed": self.run.summary["seed"]},
            "model": {"name": self.run.task["name"], "parameters": self.cost.parameters, "macs": self.cost.macs},
            "speed": self.speed.to_dict(),
        }


def run_digits(folder: Path, seed: int = 0, quick: bool = False) -> DigitsExperiment:
    """Train the recipe, then evaluate, profile and time the model.

    Args:
        folder: The run folder, new.
        seed: Of all that is random.
        quick: Train for one epoch only and time little.
    """
    return inspect_digits(train(RECIPE, folder, seed, _QUICK if quick else ()), quick)


def inspect_digits(run: Run, quick: bool = False) -> DigitsExperiment:
    """Evaluate, profile and time the model of a finished run.

    Args:
        run: The run.
        quick: Time little.
    """
    predictor = Predictor(run.weights, batch_size=64)
    model = predictor.model
    assert isinstance(model, GPViT)
    images, labels = digits_split("test")
    channels, *size = predictor.preprocessing.input_size
    device = next(model.parameters()).device
    sizes = _QUICK_SPEED_SIZES if quick else _SPEED_SIZES
    cases = [Case(run.task["name"], (side, side), _SPEED_BATCH, device=str(device)) for side in sizes]
    return DigitsExperiment(
        run=run,
        model=model,
        images=images,
        labels=labels,
        results=predictor(list(images)),  # type: ignore[arg-type]  # of a classifier
        cost=profile_model(model, (size[0], size[1]), channels),
        speed=benchmark(cases, rounds=2 if quick else 5, warmup=1, memory=False),
    )
