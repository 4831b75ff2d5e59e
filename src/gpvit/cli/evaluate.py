"""The verb `gpvit evaluate`."""

import json as json_format
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gpvit.errors import UserError
from gpvit.inference.inferers import choose_inferer
from gpvit.inference.metadata import preprocessing_of, segmentation_preprocessing_of, task_of
from gpvit.tasks.evaluation import (
    evaluate_classifier,
    evaluate_detector,
    evaluate_segmenter,
    open_data,
    open_detection_data,
    open_segmentation_data,
)
from gpvit.zoo.opening import is_untrained, open_model

_MODELS = {"classification": "classifier", "segmentation": "segmenter", "detection": "detector"}


def evaluate(
    checkpoint: str,
    data: str | None = None,
    batch_size: int | None = None,
    num_workers: int | None = None,
    window: int | None = None,
    overlap: float | None = None,
    scales: str | None = None,
    flip: bool = False,
    results: str | None = None,
    device: str | None = None,
    json: str | None = None,
) -> None:
    """Score a checkpoint on a data set, its images prepared as the checkpoint says.

    Args:
        checkpoint: A .safetensors file of a run, or published weights as `gpvit_l1.in1k`.
        data: For a classifier `digits`, the default, a folder with val/CLASS/ images, or a folder of WebDataset shards;
            for a segmenter `digit_scenes`, the default, ADE20K's folder, or one with images/val/ and masks/val/; for a
            detector `digit_scenes`, the default, COCO's folder, or one with val/ and annotations/val.json.
        batch_size: Images that a classifier computes at once, by default 64, or that a detector does where all are of
            one size, by default 1; a segmenter takes them one by one.
        num_workers: Processes that load images for a classifier or a detector, by default 4.
        window: Of a segmenter, the side in pixels of windows that slide over the image at its own size.
        overlap: Part of a window's side that its neighbour sees as well; a third if left out.
        scales: Of a segmenter, factors of the image's size to average over, as `0.5,1.0,1.5`.
        flip: Of a segmenter, average over the image and its mirror image.
        results: Of a detector, file to write all detections to, in COCO's result format.
        device: `cpu` or `cuda`; by default a GPU if there is one.
        json: File to write the scores to; `-` prints them in place of the table.
    """
    model: Any = open_model(checkpoint)
    if is_untrained(checkpoint):
        raise UserError(f"{checkpoint!r} names no trained weights; give a .safetensors file, or a tag: gpvit_l1.in1k")
    progress = sys.stderr.isatty()
    scores: dict[str, Any]
    task = task_of(model)
    if task != "segmentation":
        reason = f"it is for segmenters, and this is a {_MODELS[task]}"
        _refuse(reason, window=window, overlap=overlap, scales=scales, flip=flip or None)
    if task != "detection":
        _refuse(f"it is for detectors, and this is a {_MODELS[task]}", results=results)
    workers = 4 if num_workers is None else num_workers
    if task == "segmentation":
        _refuse("a segmenter takes its images one by one", batch_size=batch_size, num_workers=num_workers)
        method = choose_inferer(window, overlap, flip, scales)
        data = data or "digit_scenes"
        pairs = open_segmentation_data(data, segmentation_preprocessing_of(model))
        scores = evaluate_segmenter(model, pairs, method, device, progress)
    elif task == "detection":
        data = data or "digit_scenes"
        pictures = open_detection_data(data, model.has_masks, 1 if batch_size is None else batch_size, workers)
        scores = evaluate_detector(model, pictures, device, progress, results)
    else:
        data = data or "digits"
        images = open_data(data, preprocessing_of(model), 64 if batch_size is None else batch_size, workers)
        scores = evaluate_classifier(model, images, device, progress)
    report = json_format.dumps({"checkpoint": checkpoint, "data": data, **scores}, indent=1)
    if json == "-":
        print(report)
        return
    console = Console()
    console.print(f"{checkpoint} on {data}", soft_wrap=True)
    classes: Any = scores.pop("classes", None)
    if classes is not None:
        console.print(_class_table(classes))
    table = Table("score", "value")
    for name, value in scores.items():
        table.add_row(name, _percent(value) if name not in ("loss", "images") else f"{value:.4g}")
    console.print(table)
    if json is not None:
        Path(json).write_text(report + "\n", encoding="utf-8")


def _refuse(reason: str, **options: object) -> None:
    """Refuse options, where any is given, that the model's task has no use for."""
    given = ["--" + name.replace("_", "-") for name, value in options.items() if value is not None]
    if given:
        raise UserError(f"leave out {' and '.join(given)}: {reason}")


def _class_table(classes: dict[str, dict[str, float | None]]) -> Table:
    """Lay out what is known of each class; the worst by the first score stands out."""
    scores = list(next(iter(classes.values())))
    known = [facts[scores[0]] for facts in classes.values() if facts[scores[0]] is not None]
    table = Table("class", *scores, "")
    for name, facts in classes.items():
        is_worst = bool(known) and facts[scores[0]] == min(known)  # type: ignore[type-var]
        row = (Text(name), *map(_percent, facts.values()), "worst" if is_worst else "")
        table.add_row(*row, style="bold" if is_worst else None)
    return table


def _percent(value: float | None) -> str:
    return "none here" if value is None else f"{value:.2%}"
