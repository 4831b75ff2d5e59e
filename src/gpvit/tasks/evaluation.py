"""Scores a trained model on a data set."""

import math
from collections.abc import Iterable, Sequence
from copy import copy
from pathlib import Path
from typing import Any, TypeVar

import torch
from rich.console import Console
from rich.progress import track
from torch import nn
from torchmetrics import MeanMetric

from gpvit.data.classification.folders import ImageFolder
from gpvit.data.classification.module import ClassificationData
from gpvit.data.classification.shards import Shards
from gpvit.data.detection import COCO, Categories, CocoFolder, DetectionData, write_coco_results
from gpvit.data.detection import DigitScenes as DetectionScenes
from gpvit.data.module import ImageData
from gpvit.data.segmentation import ADE20K, DigitScenes, MaskFolder, SegmentationData
from gpvit.data.synthetic.digits import Digits
from gpvit.data.transforms.classification import Preprocessing
from gpvit.data.transforms.segmentation import SegmentationPreprocessing
from gpvit.devices import choose_device
from gpvit.errors import UserError
from gpvit.inference.inferers import Inferer, WholeImage
from gpvit.models.detection.detector import Detector
from gpvit.models.detection.mask_rcnn import MaskRCNN
from gpvit.models.segmenter import Segmenter
from gpvit.tasks.detection import detect
from gpvit.tasks.metrics.accuracy import accuracies
from gpvit.tasks.metrics.coco_ap import DetectionScores
from gpvit.tasks.metrics.mean_iou import SegmentationScores

T = TypeVar("T")


def open_data(data: str, preprocessing: Preprocessing, batch_size: int, num_workers: int) -> ClassificationData:
    """Open `digits`, a folder of shards (with `_info.json`) or a folder of images, prepared as the weights ask for.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    if data == "digits":
        digits = Digits(batch_size=batch_size)
        digits.preprocessing = preprocessing
        return digits
    options: dict[str, Any] = {"batch_size": batch_size, "num_workers": num_workers}
    if (Path(data) / "_info.json").is_file():
        return Shards(data, preprocessing=preprocessing, **options)
    return ImageFolder(data, preprocessing=preprocessing, **options)


def open_segmentation_data(data: str, preprocessing: SegmentationPreprocessing) -> SegmentationData:
    """Open `digit_scenes`, ADE20K (with `annotations/validation`) or a folder of pictures and masks.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    if data == "digit_scenes":
        scenes = DigitScenes()
        scenes.preprocessing = preprocessing
        return scenes
    if (Path(data).expanduser() / "annotations" / "validation").is_dir():
        return ADE20K(data, preprocessing=preprocessing)
    return MaskFolder(data, preprocessing=preprocessing)


def open_detection_data(data: str, masks: bool, batch_size: int, num_workers: int) -> DetectionData:
    """Open `digit_scenes`, COCO 2017 (with `annotations/instances_val2017.json`) or a folder in COCO's format.

    Args:
        data: Which.
        masks: Read masks, too.
        batch_size: Images that are loaded together.
        num_workers: Processes that load images, or draw scenes.

    Raises:
        FileNotFoundError: If there is no such folder, or it lacks annotations.
        ValueError: If the annotations cannot be used.
    """
    options: dict[str, Any] = {"masks": masks, "batch_size": batch_size, "num_workers": num_workers}
    if data == "digit_scenes":
        return DetectionScenes(**options)
    is_coco = (Path(data).expanduser() / "annotations" / "instances_val2017.json").is_file()
    return (COCO if is_coco else CocoFolder)(data, **options)


def evaluate_classifier(
    model: nn.Module, data: ClassificationData, device: str | None = None, progress: bool = False
) -> dict[str, float]:
    """Score a classifier on all validation images.

    Args:
        model: A classifier that returns logits; its `pretrained_cfg` may name its classes.
        data: What to score it on.
        device: Where to compute; None takes a GPU if there is one.
        progress: Show a progress bar, on stderr.

    Returns:
        `top1`, `top5` (of more than five classes), `mean_class_accuracy`, all in [0, 1], `loss` (cross-entropy) and
        `images`, their number.

    Raises:
        ValueError: If the classes of the model are not those of the data, or there is no such device.
    """
    _check_classes(model, data)
    where = choose_device(device)
    metrics = accuracies(data.num_classes, per_class=True).to(where)
    loss = MeanMetric().to(where)
    model = model.eval().to(where)
    data.setup("validate")
    images_seen = 0
    with torch.inference_mode():
        for images, labels in _tracked(data.val_dataloader(), progress):
            images, labels = images.to(where), labels.to(where)
            logits = model(images)
            metrics.update(logits, labels)
            loss.update(nn.functional.cross_entropy(logits, labels), weight=len(labels))
            images_seen += len(labels)
    scores = {**metrics.compute(), "loss": loss.compute()}
    order = ("top1", "top5", "mean_class_accuracy", "loss")
    return {**{name: round(float(scores[name]), 6) for name in order if name in scores}, "images": images_seen}


def evaluate_segmenter(
    model: Segmenter,
    data: SegmentationData,
    method: Inferer | None = None,
    device: str | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Score a segmenter on all validation pictures, each at its own size.

    Args:
        model: A segmenter; its `pretrained_cfg` may name its classes.
        data: What to score it on.
        method: How a picture is labelled, a `WholeImage` or a `SlidingWindow`; None takes `WholeImage()`, as the
            published scores do.
        device: Where to compute; None takes a GPU if there is one.
        progress: Show a progress bar, on stderr.

    Returns:
        `miou`, `macc` and `aacc`, all in [0, 1], `images`, their number, and `classes`: of each class by its name,
        `iou` and `acc`, None where no pixel tells.

    Raises:
        ValueError: If the classes of the model are not those of the data, or there is no such device.
    """
    _check_classes(model, data)
    model = model.eval().to(choose_device(device))
    method = method or WholeImage()
    pairs = data.val_pairs()
    metric = SegmentationScores(data.num_classes)
    for index in _tracked(range(len(pairs)), progress):
        pair = pairs[index]
        labels = method(model, pair.picture, data.preprocessing)
        metric.update(torch.from_numpy(labels), torch.from_numpy(pair.mask))
    scores = {name: [_rounded(v) for v in values.view(-1).tolist()] for name, values in metric.compute().items()}
    classes = zip(data.class_names, scores["iou"], scores["acc"], strict=True)
    return {
        **{name: scores[name][0] for name in ("miou", "macc", "aacc")},
        "images": len(pairs),
        "classes": {name: {"iou": iou, "acc": acc} for name, iou, acc in classes},
    }


def evaluate_detector(
    model: Detector,
    data: DetectionData,
    device: str | None = None,
    progress: bool = False,
    results: str | Path | None = None,
) -> dict[str, Any]:
    """Score a detector on all validation pictures with COCO's average precision.

    Pictures of a batch that are of one size are computed together.

    Args:
        model: A detector; its `pretrained_cfg` may name its classes.
        data: What to score it on.
        device: Where to compute; None takes a GPU if there is one.
        progress: Show a progress bar, on stderr.
        results: File for all detections in COCO's result format.

    Returns:
        `box_ap`, `box_ap50`, `box_ap75`, `box_ap_small`, `box_ap_medium`, `box_ap_large` and, of a model with masks,
        the same of masks, all in [0, 1], or None where the data have no such object; `images`, their number; and
        `classes`: of each class by its name, `box_ap` and perhaps `mask_ap`.

    Raises:
        ValueError: If the classes of the model are not those of the data, or there is no such device.
    """
    _check_categories(model, data)
    where = choose_device(device)
    model = copy(model.eval().to(where))
    if isinstance(model, MaskRCNN):
        model.mask_format = "binary"  # of the copy alone: all that scores ask for, in a quarter of the memory
    metric = DetectionScores(data.class_names, masks=model.has_masks)
    data.setup("validate")
    images_seen = 0
    with torch.inference_mode():
        for images, targets in _tracked(data.val_dataloader(), progress):
            metric.update(detect(model, [image.to(where) for image in images]), targets)
            images_seen += len(images)
    scores = {name: [_rounded(v) for v in values.view(-1).tolist()] for name, values in metric.compute().items()}
    per_class = {f"{kind}_ap": scores.pop(f"{kind}_ap_per_class") for kind in metric.kinds}
    if results is not None:
        write_coco_results(metric.to_coco_results(data.categories), results)
    return {
        **{name: value for name, (value,) in scores.items()},
        "images": images_seen,
        "classes": {
            name: {score: values[i] for score, values in per_class.items()} for i, name in enumerate(data.class_names)
        },
    }


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)


def _tracked(items: Iterable[T], progress: bool) -> Iterable[T]:
    return track(items, "evaluating", console=Console(stderr=True), disable=not progress, transient=True)


def _check_classes(model: Any, data: ImageData) -> None:
    if model.num_classes != data.num_classes:
        raise UserError(
            f"the model tells {model.num_classes} classes apart, the data have {data.num_classes}; "
            "evaluate it on data with its own classes, or train it on these"
        )
    names: Sequence[str] = model.pretrained_cfg.get("label_names") or ()
    if names and tuple(names) != data.class_names:
        i = next(i for i, (own, given) in enumerate(zip(names, data.class_names, strict=True)) if own != given)
        raise UserError(
            f"class {i} is {names[i]!r} for the model and {data.class_names[i]!r} in the data; "
            "rename the data's classes, or bring them into the model's order"
        )


def _check_categories(model: Detector, data: DetectionData) -> None:
    """Check names and ids where the model's file tells both."""
    names, ids = (model.pretrained_cfg.get(fact) for fact in ("label_names", "category_ids"))
    if names and ids:
        Categories(names, ids).require_same(data.categories, "the model", "the data")
    else:
        _check_classes(model, data)
