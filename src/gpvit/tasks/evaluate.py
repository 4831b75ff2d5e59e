"""Scores a trained model on a dataset: prediction, batch by batch, and a metric."""

import math
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import nn
from torch.utils.data import DataLoader

from gpvit.data import Digits, ImageFolder, Shards
from gpvit.data.detection import COCO, Categories, CocoFolder, write_coco_results
from gpvit.data.detection import DigitScenes as DetectionScenes
from gpvit.data.module import ImageData
from gpvit.data.segmentation import ADE20K, DigitScenes, MaskFolder
from gpvit.devices import choose_device
from gpvit.errors import UserError
from gpvit.inference.forward import forward_logits
from gpvit.inference.inferers import Inferer, WholeImage
from gpvit.inference.metadata import preprocessing_of, segmentation_preprocessing_of, task_of
from gpvit.models.detection.mask_rcnn import MaskRCNN
from gpvit.tasks.detection import detect
from gpvit.tasks.metrics.accuracy import ClassificationScores
from gpvit.tasks.metrics.coco_ap import DetectionScores
from gpvit.tasks.metrics.mean_iou import SegmentationScores

OWN_DATA = {"classification": "digits", "segmentation": "digit_scenes", "detection": "digit_scenes"}
"""The data of each task that need no file."""

_KINDS: dict[str, tuple[Any, str, Any, Any]] = {  # those, what tells a dataset's layout, and other folders
    "classification": (Digits, "_info.json", Shards, ImageFolder),
    "segmentation": (DigitScenes, "annotations/validation", ADE20K, MaskFolder),
    "detection": (DetectionScenes, "annotations/instances_val2017.json", COCO, CocoFolder),
}


def open_data(
    task: str, source: str | Path, model: nn.Module, *, batch_size: int | None = None, num_workers: int | None = None
) -> ImageData:
    """Open data to evaluate a model on, prepared as the model asks for.

    Args:
        task: What the model is for: `classification`, `segmentation` or `detection`.
        source: A folder, or `digits` (classification) or `digit_scenes`. Of classes, a folder of images or of shards
            (with `_info.json`); of masks, ADE20K (with `annotations/validation`) or a folder of images and masks; of
            objects, COCO 2017 (with `annotations/instances_val2017.json`) or a folder in COCO's format.
        model: Says how images are prepared, and whether masks of objects are read.
        batch_size: Images that are computed at once; None for 64 of a classifier, 1 of a detector. A segmenter takes
            its images one by one.
        num_workers: Processes that load images; None as the data choose.

    Raises:
        FileNotFoundError: If there is no such folder, or it lacks annotations.
        UserError: If the annotations cannot be used.
    """
    own, layout, dataset, folder = _KINDS[task]
    prepare = {"classification": preprocessing_of, "segmentation": segmentation_preprocessing_of}.get(task)
    options: dict[str, Any] = {"batch_size": batch_size, "num_workers": num_workers}
    if batch_size is None:
        options["batch_size"] = 64 if task == "classification" else 1
    if num_workers is None:
        del options["num_workers"]
    if task == "detection":
        options["masks"] = model.has_masks
    data: ImageData
    if source == OWN_DATA[task]:
        data = own(**options)
        data.preprocessing = prepare(model) if prepare else None
    else:
        root = Path(source).expanduser()
        options |= {"preprocessing": prepare(model)} if prepare else {}
        data = (dataset if (root / layout).exists() else folder)(root, **options)
    return data


def evaluate(
    model: Any,
    data: Any,
    *,
    inferer: Inferer | None = None,
    results: str | Path | None = None,
    device: str | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Score a model on all validation images.

    Args:
        model: A classifier, a segmenter or a detector; its `pretrained_cfg` may name its classes.
        data: A data module of its task.
        inferer: Segmenters only: how an image is labelled, a `WholeImage` or a `SlidingWindow`; None takes
            `WholeImage()`, as the published scores do.
        results: Detectors only: file for all detections, in COCO's result format.
        device: Where to compute; None takes a GPU if there is one.
        progress: Show a progress bar, on stderr.

    Returns:
        The scores of `gpvit.tasks.metrics`, from 0 to 1, None where the data say nothing, and the number of `images`.
        Of a classifier `top1`, `top5` (of more than five classes), `mean_class_accuracy` and `loss`; of a segmenter
        `miou`, `macc` and `aacc`; of a detector COCO's `box_ap`, `box_ap50`, `box_ap75`, `box_ap_small`,
        `box_ap_medium`, `box_ap_large` and, of one with masks, the same as `mask_...`. Of the last two also `classes`:
        `iou` and `acc`, or `box_ap` and perhaps `mask_ap`, by the class's name.

    Raises:
        UserError: If the classes of the model are not those of the data, an option is for another task, or there is no
            such device.
    """
    task = task_of(model)
    for option, value, own in (("inferer", inferer, "segmentation"), ("results", results, "detection")):
        if value is not None and task != own:
            raise UserError(f"leave out {option}: it is for {own}, and the model is for {task}")
    _check_classes(model, data)
    model = model.eval().to(choose_device(device))
    data.setup("validate")
    if task == "segmentation":
        predict, metric, batches = _segmentation(model, data, inferer or WholeImage())
    else:
        predict, metric, batches = (_detection if task == "detection" else _classification)(model, data)
    images = 0
    with torch.inference_mode():
        bar: dict[str, Any] = {"console": Console(stderr=True), "disable": not progress, "transient": True}
        for inputs, targets in track(batches, "evaluating", **bar):
            metric.update(predict(inputs), targets)
            images += len(targets)
    scores = metric.compute()
    if results is not None:
        write_coco_results(metric.to_coco_results(data.categories), results)
    total = {name: _rounded(score) for name, score in scores.items() if score.ndim == 0}
    by_class = {name.removesuffix("_per_class"): score for name, score in scores.items() if score.ndim == 1}
    if not by_class:
        return {**total, "images": images}
    classes = {
        class_name: {name: _rounded(score[i]) for name, score in by_class.items()}
        for i, class_name in enumerate(data.class_names)
    }
    return {**total, "images": images, "classes": classes}


Parts = tuple[Callable[[Any], Any], Any, Iterable[Any]]
"""How a model predicts, the metric that takes predictions and targets, and batches of inputs and targets."""


def _classification(model: nn.Module, data: ImageData) -> Parts:
    metric = ClassificationScores(data.num_classes).to(next(model.parameters()).device)
    return partial(forward_logits, model), metric, data.val_dataloader()


def _segmentation(model: Any, data: Any, inferer: Inferer) -> Parts:
    """Each image by itself, at its own size."""

    def predict(image: Image.Image) -> torch.Tensor:
        return torch.from_numpy(inferer(model, image, data.preprocessing))[None]

    batches = DataLoader(data.samples("val"), batch_size=None, num_workers=data.num_workers, collate_fn=_whole_image)
    return predict, SegmentationScores(data.num_classes), batches


def _whole_image(sample: Any) -> tuple[Image.Image, torch.Tensor]:
    _, image, mask = sample
    return image, torch.from_numpy(mask)[None]


def _detection(model: Any, data: Any) -> Parts:
    """Images of a batch together where they are of one size."""
    model, device = copy(model), next(model.parameters()).device
    if isinstance(model, MaskRCNN):
        model.mask_format = "binary"  # of the copy alone: all that scores ask for, in a quarter of the memory

    def predict(images: Sequence[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        return detect(model, [image.to(device) for image in images])

    return predict, DetectionScores(data.class_names, masks=model.has_masks), data.val_dataloader()


def _rounded(value: torch.Tensor) -> float | None:
    return None if math.isnan(value) else round(float(value), 6)


def _check_classes(model: Any, data: Any) -> None:
    """Check number, names and, of a detector, ids of classes, where the model's file tells them."""
    names, ids = (model.pretrained_cfg.get(fact) or () for fact in ("label_names", "category_ids"))
    if names and ids and hasattr(data, "categories"):
        Categories(names, ids).require_same(data.categories, "the model", "the data")
        return
    if model.num_classes != data.num_classes:
        raise UserError(
            f"the model tells {model.num_classes} classes apart, the data have {data.num_classes}; "
            "evaluate it on data with its own classes, or train it on these"
        )
    for i, (own, given) in enumerate(zip(names, data.class_names, strict=False)):
        if own != given:
            raise UserError(
                f"class {i} is {own!r} for the model and {given!r} in the data; "
                "rename the data's classes, or bring them into the model's order"
            )
