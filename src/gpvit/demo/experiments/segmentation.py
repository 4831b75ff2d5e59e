"""Labelling every pixel of scenes with digits: a segmenter, and what came of its training."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from gpvit.data.images import read_image
from gpvit.data.segmentation import DigitScenes, Pair
from gpvit.data.synthetic.scenes import digit_scene
from gpvit.demo.experiments.run import Run, train
from gpvit.inference.inferers import SlidingWindow
from gpvit.inference.predictor import Predictor
from gpvit.inference.results.segmentation import SegmentationResult
from gpvit.tasks.metrics.mean_iou import SegmentationScores

RECIPE = "digit_scenes/segment.yaml"
# Some 140 s on two cores; every epoch draws other scenes out of the recipe's. So short a training learns more from full
# scenes and from ink that counts much.
_SHORTENED = (
    *("--trainer.max_epochs", "4", "--trainer.limit_train_batches", "100", "--data.test_scenes", "100"),
    *("--model.background_weight", "0.3", "--data.train_digits", "[4, 10]"),
)
_QUICK = ("--trainer.max_epochs", "1", "--data.train_scenes", "16", "--data.test_scenes", "8")
_LARGE_SIZE, _LARGE_DIGITS = (384, 512), (36, 48)


@dataclass(frozen=True, eq=False)
class SegmentationExperiment:
    """A trained segmenter and everything that the report tells of it.

    Args:
        run: Its training.
        parameters: How many numbers the model learned.
        pairs: Test scenes with the truth.
        results: What the model says about each.
        large: A scene larger than those of the training, with the truth.
        large_result: What the model says about it, window by window.
    """

    run: Run
    parameters: int
    pairs: Sequence[Pair]
    results: Sequence[SegmentationResult]
    large: Pair
    large_result: SegmentationResult

    @cached_property
    def scores(self) -> SegmentationScores:
        """Counts of pixels over all test scenes."""
        return _scored(self.pairs, self.results)

    @property
    def miou(self) -> float:
        """Intersection over union of the pixels of a class, as labelled and as they are; the mean of all classes."""
        return float(self.scores.compute()["miou"])

    @property
    def pixel_accuracy(self) -> float:
        """Share of the pixels that are labelled right."""
        return float(self.scores.compute()["aacc"])

    @property
    def iou(self) -> dict[str, float]:
        """Intersection over union of each class that the test scenes hold."""
        return self._by_class("iou")

    @property
    def found(self) -> dict[str, float]:
        """Share of the pixels of each class in the test scenes that are labelled right."""
        return self._by_class("acc")

    @property
    def worst_class(self) -> str:
        """The class of the lowest IoU."""
        return min(self.iou, key=self.iou.__getitem__)

    def taken_for(self, name: str) -> dict[str, float]:
        """Say for which classes the pixels of one are taken, itself among them, as shares."""
        row = self.scores.confmat[self.class_names.index(name)]
        return dict(zip(self.class_names, (row / row.sum()).tolist(), strict=True))

    @property
    def large_miou(self) -> float:
        """Intersection over union on the large scene, the mean of its classes."""
        return float(_scored([self.large], [self.large_result]).compute()["miou"])

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes: the background, then the digits."""
        return self.results[0].class_names

    def _by_class(self, score: str) -> dict[str, float]:
        values, pixels = self.scores.compute()[score].tolist(), self.scores.confmat.sum(1).tolist()
        named = zip(self.class_names, values, pixels, strict=True)
        return {name: value for name, value, there in named if there}

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain data for JSON."""
        return {
            "test": {
                "miou": round(self.miou, 6),
                "pixel_accuracy": round(self.pixel_accuracy, 6),
                "iou": {name: round(value, 6) for name, value in self.iou.items()},
                "scenes": len(self.pairs),
            },
            "training": {
                "seconds": self.run.seconds,
                "steps": self.run.steps,
                "batch_size": self.run.data["batch_size"],
                "seed": self.run.summary["seed"],
            },
            "model": {"name": self.run.task["name"], "parameters": self.parameters},
        }


def run_segmentation(folder: Path, seed: int = 0, quick: bool = False) -> SegmentationExperiment:
    """Train the recipe for a short time, then have the model label test scenes.

    Args:
        folder: The run folder, new.
        seed: Of all that is random but the scenes, which are those of the recipe.
        quick: Train on a handful of scenes only.
    """
    return inspect_segmentation(train(RECIPE, folder, seed, _QUICK if quick else _SHORTENED))


def inspect_segmentation(run: Run) -> SegmentationExperiment:
    """Have the model of a finished run label its test scenes, and a larger one."""
    data = DigitScenes(**run.data)
    pairs = list(data.val_pairs())
    predictor = Predictor(run.weights)
    windows = Predictor(predictor.model, inferer=SlidingWindow(size=run.data["image_size"]))
    scene = digit_scene("test", 0, run.data["seed"], _LARGE_SIZE, _LARGE_DIGITS)
    return SegmentationExperiment(
        run=run,
        parameters=sum(parameter.numel() for parameter in predictor.model.parameters()),
        pairs=pairs,
        results=predictor([pair.picture for pair in pairs]),  # type: ignore[arg-type]  # of a segmenter
        large=(large := Pair("large", read_image(scene.image), scene.labels)),
        large_result=windows(large.picture),
    )


def _scored(pairs: Sequence[Pair], results: Sequence[SegmentationResult]) -> SegmentationScores:
    scores = SegmentationScores(len(results[0].class_names))
    for pair, result in zip(pairs, results, strict=True):
        scores.update(torch.from_numpy(result.labels), torch.from_numpy(pair.mask))
    return scores
