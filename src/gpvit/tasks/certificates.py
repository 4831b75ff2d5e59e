"""Evidence that weights score what is said of them: an evaluation, and all that is needed to repeat it."""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gpvit.devices import describe_machine
from gpvit.errors import UserError
from gpvit.inference.metadata import preprocessing_of, segmentation_preprocessing_of, task_of
from gpvit.tasks.evaluation import (
    evaluate_classifier,
    evaluate_detector,
    evaluate_segmenter,
    open_data,
    open_detection_data,
    open_segmentation_data,
)
from gpvit.zoo.catalog import find_weights
from gpvit.zoo.factory import open_model
from gpvit.zoo.hub import published_weights

TOLERANCE = 0.002
"""How far a score may be from the one expected, by default: 0.2 points of percent.

Published scores are rounded to 0.1 points, and decoders of JPEG and resizing differ a little between libraries.
"""

_BENCHMARKS = {"in1k": 50_000, "ade20k": 2_000, "coco_1x": 5_000, "coco_3x": 5_000}
"""Validation images that the published scores of each tag are for."""

_MAIN_SCORE = {"classification": "top1", "segmentation": "miou", "detection": "box_ap"}


@dataclass(frozen=True)
class Expectation:
    """What weights should score.

    Attributes:
        scores: By name, in [0, 1].
        tolerance: How far each may be from it, either way.
        images: How many images the scores are for; None for any number.
        source: Who says so.
    """

    scores: Mapping[str, float]
    tolerance: float
    images: int | None
    source: str


def published(name: str, tolerance: float = TOLERANCE) -> Expectation:
    """Look up what published weights should score.

    Args:
        name: A model and its tag, `gpvit_l1.in1k`.
        tolerance: How far a score may be from that.

    Raises:
        ValueError: If there are no such weights.
    """
    model, _, tag = name.partition(".")
    tag, weights = find_weights(model, tag)
    scores = {score: round(percent / 100, 6) for score, percent in weights.metrics.items()}
    return Expectation(scores, tolerance, _BENCHMARKS.get(tag), "published by the authors")


def weights_file(checkpoint: str) -> Path:
    """Find the file of weights: the path itself, or the converted file of published ones, fetched if need be.

    Raises:
        FileNotFoundError: If a path leads nowhere.
        ValueError: If it names a model without weights.
    """
    path = Path(checkpoint)
    if path.suffix in (".safetensors", ".pth", ".ckpt") or path.is_file():
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file of weights")
        return path
    name, _, tag = checkpoint.partition(".")
    if not tag:
        raise UserError(f"{checkpoint!r} names no trained weights; give a .safetensors file, or a tag: gpvit_l1.in1k")
    return published_weights(name, tag)


def certify(
    checkpoint: str,
    data: str,
    expected: Expectation | float | None = None,
    tolerance: float = TOLERANCE,
    metric: str | None = None,
    batch_size: int | None = None,
    num_workers: int = 4,
    device: str | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Evaluate weights and compare the scores with what is expected.

    Args:
        checkpoint: Published weights, `gpvit_l1.in1k`, or a file that `gpvit.save` wrote.
        data: What to evaluate on, as `gpvit evaluate` takes it.
        expected: A score in [0, 1]; None takes the published ones.
        tolerance: How far scores may be from it, either way.
        metric: Which score is expected; None for top-1, mIoU or box AP, whichever the task has.
        batch_size: Images computed at once; None for 64 of a classifier, 1 of a detector.
        num_workers: Processes that load images.
        device: Where to compute; None takes a GPU if there is one.
        progress: Show a progress bar, on stderr.

    Returns:
        The certificate: `verdict`, "pass" or "fail", with the reasons; each score `compared`; all `scores`; `weights`
        with their SHA-256, `data`, `versions`, `hardware` and `date`.

    Raises:
        FileNotFoundError: If weights or data are missing.
        ValueError: If nothing is published for these weights and no score is expected, or the data are of other
            classes.
    """
    file = weights_file(checkpoint)
    model: Any = open_model(checkpoint)
    task = task_of(model)
    expectation = (
        expected
        if isinstance(expected, Expectation)
        else _expectation(checkpoint, file, expected, tolerance, metric or _MAIN_SCORE[task])
    )
    start = time.monotonic()
    scores = _evaluate(model, task, data, batch_size, num_workers, device, progress)
    seconds = time.monotonic() - start
    compared, faults = compare(scores, expectation)
    machine = asdict(describe_machine())
    versions = {name: machine.pop(name) for name in ("python", "torch", "timm", "gpvit")}
    return {
        "verdict": "fail" if faults else "pass",
        "faults": faults,
        "compared": compared,
        "expectation": expectation.source,
        "scores": scores,
        "weights": {"name": checkpoint, "file": str(file), "sha256": sha256(file), "bytes": file.stat().st_size},
        "data": {"path": data, "images": scores["images"], "expected_images": expectation.images},
        "versions": {**versions, "torchvision": version("torchvision"), "lightning": version("lightning")},
        "hardware": {**machine, "device": str(next(model.parameters()).device)},
        "seconds": round(seconds, 1),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def compare(scores: Mapping[str, Any], expectation: Expectation) -> tuple[list[dict[str, Any]], list[str]]:
    """Compare scores with what is expected, and say what does not agree.

    Args:
        scores: By name, with `images`, their number.
        expectation: What they should be.

    Raises:
        ValueError: If there is no score of a name.
    """
    compared, faults = [], []
    for name, expected in expectation.scores.items():
        if name not in scores or not isinstance(scores[name], float):
            known = ", ".join(score for score, value in scores.items() if isinstance(value, float))
            raise UserError(f"no score {name!r} was measured; choose --metric of {known}")
        difference = scores[name] - expected
        agrees = abs(difference) <= expectation.tolerance + 1e-9
        compared.append(
            {
                "score": name,
                "measured": scores[name],
                "expected": expected,
                "difference": round(difference, 6),
                "tolerance": expectation.tolerance,
                "agrees": agrees,
            }
        )
        if not agrees:
            faults.append(
                f"{name} is {scores[name]:.2%}, {expected:.2%} was expected, within {expectation.tolerance:.2%}"
            )
    if expectation.images not in (None, scores["images"]):
        faults.append(f"{scores['images']:,} images were evaluated; the score is for {expectation.images:,}")
    return compared, faults


def write_certificate(certificate: Mapping[str, Any], path: str | Path) -> None:
    """Write a certificate as JSON, whole or not at all.

    Args:
        certificate: From `certify`.
        path: Where to; its folder is made if need be.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(json.dumps(certificate, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def sha256(path: Path) -> str:
    """Compute the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _expectation(checkpoint: str, file: Path, score: float | None, tolerance: float, metric: str) -> Expectation:
    if tolerance < 0:
        raise UserError(f"tolerance {tolerance}: give 0 or more")
    if score is None and checkpoint == str(file):
        raise UserError(f"nothing is published for {checkpoint}; say what it should score: --expect 0.81")
    if score is None:
        return published(checkpoint, tolerance)
    if not 0 <= score <= 1:
        raise UserError(f"expect {score}: give a score from 0 to 1, as 0.81 for 81 %")
    return Expectation({metric: score}, tolerance, None, "stated by the caller")


def _evaluate(
    model: Any, task: str, data: str, batch_size: int | None, workers: int, device: str | None, progress: bool
) -> dict[str, Any]:
    if task == "segmentation":
        pairs = open_segmentation_data(data, segmentation_preprocessing_of(model))
        return evaluate_segmenter(model, pairs, None, device, progress)
    if task == "detection":
        pictures = open_detection_data(data, model.has_masks, batch_size or 1, workers)
        return evaluate_detector(model, pictures, device, progress)
    images = open_data(data, preprocessing_of(model), batch_size or 64, workers)
    return evaluate_classifier(model, images, device, progress)
