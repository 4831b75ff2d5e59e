"""Detections in COCO's result format, which other tools read."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from gpvit.data.detection.categories import Categories
from gpvit.data.detection.masks import RunLengths, compress


def coco_results(detection: Mapping[str, Any], image_id: int, categories: Categories) -> list[dict[str, Any]]:
    """List the detections of one image as COCO's result files do.

    Args:
        detection: As detectors give it: `boxes (N, 4)`, left, top, right, bottom; `labels (N,)`, from 1; and, if there
            are any, `scores (N,)`, and `masks` as `run_lengths` takes them.
        image_id: Id of the image in the annotation file.
        categories: What the labels mean.
    """
    corners = detection["boxes"].detach().double().cpu().reshape(-1, 4)
    boxes = torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], dim=1).tolist()
    columns = {"category_id": [categories.category_id(label) for label in detection["labels"].tolist()], "bbox": boxes}
    if "scores" in detection:
        columns["score"] = detection["scores"].tolist()
    if "masks" in detection:
        columns["segmentation"] = run_lengths(detection["masks"])
    rows = zip(*columns.values(), strict=True)
    return [{"image_id": image_id, **dict(zip(columns, row, strict=True))} for row in rows]


def run_lengths(masks: torch.Tensor | Sequence[RunLengths]) -> list[RunLengths]:
    """Compress masks, one at a time, to run lengths that fit into JSON: `counts` is a string.

    Args:
        masks: `(N, H, W)` or `(N, 1, H, W)`, bool, uint8, or probabilities, of which 0.5 is inside; or run lengths.
    """
    if not isinstance(masks, torch.Tensor):
        return [_as_text(mask) for mask in masks]
    if masks.ndim == 4:
        masks = masks.squeeze(1)
    found = []
    for mask in masks:
        inside = mask >= 0.5 if mask.is_floating_point() else mask
        found.append(_as_text(compress(inside.cpu().numpy())))
    return found


def write_coco_results(results: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Write results to a JSON file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(json.dumps(results) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def _as_text(mask: RunLengths) -> RunLengths:
    counts = mask["counts"]
    return {
        "size": [int(side) for side in mask["size"]],
        "counts": counts if isinstance(counts, str) else counts.decode(),
    }
