"""Finding every digit in scenes, with its box and outline: a detector, and what came of its training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpvit.data.detection import DigitScenes
from gpvit.data.detection.dataset import Picture
from gpvit.demo.experiments.run import Run, train
from gpvit.inference.predictor import Predictor
from gpvit.inference.results.detection import DetectionResult
from gpvit.models.detection.detector import Detector
from gpvit.tasks.evaluation import evaluate_detector

RECIPE = "digit_scenes/detect.yaml"
# Some 100 s on two cores; every epoch draws other scenes out of the recipe's.
_SHORTENED = ("--trainer.max_epochs", "4", "--trainer.limit_train_batches", "35", "--data.test_scenes", "50")
_QUICK = ("--trainer.max_epochs", "1", "--data.train_scenes", "8", "--data.test_scenes", "8", "--data.batch_size", "4")
_SHOWN = 6


@dataclass(frozen=True, eq=False)
class DetectionExperiment:
    """A trained detector and everything that the report tells of it.

    Args:
        run: Its training.
        parameters: How many numbers the model learned.
        scores: What `evaluate_detector` returns.
        pictures: A few test scenes with the truth.
        results: What the model found in them.
    """

    run: Run
    parameters: int
    scores: dict[str, Any]
    pictures: Sequence[Picture]
    results: Sequence[DetectionResult]

    @property
    def class_ap(self) -> dict[str, dict[str, float]]:
        """`box_ap` and `mask_ap` of each class that the test scenes hold."""
        return {name: scores for name, scores in self.scores["classes"].items() if scores["box_ap"] is not None}

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain data for JSON."""
        return {
            "test": self.scores,
            "training": {
                "seconds": self.run.seconds,
                "steps": self.run.steps,
                "batch_size": self.run.data["batch_size"],
                "seed": self.run.summary["seed"],
            },
            "model": {"name": self.run.task["name"], "parameters": self.parameters},
        }


def run_detection(folder: Path, backbone: Path, seed: int = 0, quick: bool = False) -> DetectionExperiment:
    """Train the recipe for a short time, then score the model and have it look at a few test scenes.

    Args:
        folder: The run folder, new.
        backbone: Weights that the backbone starts from; in so short a time, one from random weights finds nothing.
        seed: Of all that is random but the scenes, which are those of the recipe.
        quick: Train on a handful of scenes only.
    """
    overrides = ("--model.backbone_weights", str(backbone), *(_QUICK if quick else _SHORTENED))
    return inspect_detection(train(RECIPE, folder, seed, overrides))


def inspect_detection(run: Run) -> DetectionExperiment:
    """Score the model of a finished run, and have it look at a few test scenes."""
    data = DigitScenes(**run.data)
    scenes = data.pictures("val")
    pictures = [scenes[index] for index in range(min(_SHOWN, len(scenes)))]
    predictor = Predictor(run.weights)
    assert isinstance(predictor.model, Detector)
    return DetectionExperiment(
        run=run,
        parameters=sum(parameter.numel() for parameter in predictor.model.parameters()),
        scores=evaluate_detector(predictor.model, data),
        pictures=pictures,
        results=predictor([picture.image for picture in pictures]),  # type: ignore[arg-type]  # of a detector
    )
