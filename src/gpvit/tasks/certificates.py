"""Evidence that weights score what is said of them: their scores, and all that is needed to measure them again."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from gpvit.devices import describe_machine
from gpvit.errors import UserError
from gpvit.io import sha256
from gpvit.zoo import files
from gpvit.zoo.catalog import find_weights
from gpvit.zoo.hub import published_weights

TOLERANCE = 0.002
"""How far a score may be from the one expected, by default: 0.2 points of percent.

Published scores are rounded to 0.1 points, and decoders of JPEG and resizing differ a little between libraries.
"""

_BENCHMARKS = {"in1k": 50_000, "ade20k": 2_000, "coco_1x": 5_000, "coco_3x": 5_000}
"""Validation images that the published scores of each tag are for."""


def published_scores(name: str) -> tuple[dict[str, float], int | None]:
    """Look up what published weights score, from 0 to 1, and on how many images; None for any number."""
    if files.weights_file(name).exists():  # a path, or a model of the hub
        raise UserError(f"nothing is published for {name}; say what it should score: --expect 0.81")
    model, _, tag = name.partition(".")
    tag, weights = find_weights(model, tag)
    return {score: round(percent / 100, 6) for score, percent in weights.metrics.items()}, _BENCHMARKS.get(tag)


def certify(
    checkpoint: str,
    data: str,
    scores: Mapping[str, Any],
    expected: Mapping[str, float],
    tolerance: float,
    images: int | None,
    device: torch.device,
) -> dict[str, Any]:
    """Compare scores with those expected on so many `images`, and add all that is needed to measure them again.

    Checkpoint and data are named as `gpvit evaluate` takes them; `tolerance` is either way.
    """
    rows, faults = [], []
    for name, score in expected.items():
        if not isinstance(measured := scores.get(name), float):
            known = ", ".join(each for each, value in scores.items() if isinstance(value, float))
            raise UserError(f"no score {name!r} was measured; choose --metric of {known}")
        row = {"score": name, "measured": measured, "expected": score, "difference": round(measured - score, 6)}
        agrees = abs(measured - score) <= tolerance + 1e-9
        rows.append({**row, "tolerance": tolerance, "agrees": agrees})
        if not agrees:
            faults.append(f"{name} is {measured:.2%}, {score:.2%} was expected, within {tolerance:.2%}")
    if images not in (None, scores["images"]):
        faults.append(f"{scores['images']:,} images were evaluated; the score is for {images:,}")
    file = weights_file(checkpoint)
    machine = asdict(describe_machine())
    versions = {name: machine.pop(name) for name in ("python", "torch", "timm", "gpvit")}
    return {
        "verdict": "fail" if faults else "pass",
        "faults": faults,
        "compared": rows,
        "scores": dict(scores),
        "weights": {"name": checkpoint, "file": file.name, "sha256": sha256(file), "bytes": file.stat().st_size},
        "data": {"path": data, "images": scores["images"], "expected_images": images},
        "versions": {**versions, "torchvision": version("torchvision"), "lightning": version("lightning")},
        "hardware": {**machine, "device": str(device)},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def weights_file(checkpoint: str) -> Path:
    """Find the file that `gpvit.zoo.factory.open_model` opens: as named, a run folder's, or of published weights."""
    path = files.weights_file(checkpoint)
    return path if path.is_file() else published_weights(*checkpoint.split(".", 1))
