"""Detections in COCO's result format, which other tools read."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from faster_coco_eval import mask as codec
from torchvision.ops import box_convert

from gpvit.data.detection.categories import Categories
from gpvit.io import write_text


def coco_results(detection: Mapping[str, Any], image_id: int, categories: Categories) -> list[dict[str, Any]]:
    """List the detections of one image as COCO's result files do.

    Args:
        detection: As detectors give it: `boxes (N, 4)`, left, top, right, bottom; `labels (N,)`, from 1; and, if there
            are any, `scores (N,)`, and `masks` as `run_lengths` takes them.
        image_id: Id of the image in the annotation file.
        categories: What the labels mean.
    """
    boxes = box_convert(detection["boxes"].detach().double().cpu().reshape(-1, 4), "xyxy", "xywh").tolist()
    columns = {"category_id": [categories.category_id(label) for label in detection["labels"].tolist()], "bbox": boxes}
    if "scores" in detection:
        columns["score"] = detection["scores"].tolist()
    if "masks" in detection:
        columns["segmentation"] = run_lengths(detection["masks"])
    rows = zip(*columns.values(), strict=True)
    return [{"image_id": image_id, **dict(zip(columns, row, strict=True))} for row in rows]


def run_lengths(masks: torch.Tensor | Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Compress masks, one at a time, to run lengths that fit into JSON: `size` (height, width) and `counts`, a text.

    They are `(N, H, W)` or `(N, 1, H, W)`, bool, uint8, or probabilities, of which 0.5 is inside; or run lengths, whose
    `counts` may be bytes.
    """
    if isinstance(masks, torch.Tensor):
        inside = (mask >= 0.5 if mask.is_floating_point() else mask for mask in masks)
        pixels = (mask.view(mask.shape[-2:]).cpu().numpy() for mask in inside)
        masks = [codec.encode(np.asfortranarray(mask, np.uint8)) for mask in pixels]
    counts = [mask["counts"] if isinstance(mask["counts"], str) else mask["counts"].decode() for mask in masks]
    return [{"size": list(map(int, m["size"])), "counts": text} for m, text in zip(masks, counts, strict=True)]


def write_coco_results(results: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Write results to a JSON file."""
    write_text(path, json.dumps(results) + "\n")
