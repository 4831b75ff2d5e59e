"""Scores a trained model on a data set."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from rich.console import Console
from rich.progress import track
from torch import nn
from torchmetrics import MeanMetric

from gpvit.data.classification import ClassificationData
from gpvit.data.digits import Digits
from gpvit.data.folders import ImageFolder
from gpvit.data.module import ImageData
from gpvit.data.preprocessing import Preprocessing
from gpvit.data.segmentation import ADE20K, DigitScenes, MaskFolder, SegmentationData, SegmentationPreprocessing
from gpvit.data.shards import Shards
from gpvit.models.devices import choose_device
from gpvit.models.labelling import LabellingMethod, WholeImage
from gpvit.models.segmenter import Segmenter
from gpvit.tasks.accuracy import accuracies
from gpvit.tasks.segmentation_scores import SegmentationScores

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
    method: LabellingMethod | None = None,
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


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)


def _tracked(items: Iterable[T], progress: bool) -> Iterable[T]:
    return track(items, "evaluating", console=Console(stderr=True), disable=not progress, transient=True)


def _check_classes(model: Any, data: ImageData) -> None:
    if model.num_classes != data.num_classes:
        raise ValueError(
            f"the model tells {model.num_classes} classes apart, the data have {data.num_classes}; "
            "evaluate it on data with its own classes, or train it on these"
        )
    names: Sequence[str] = model.pretrained_cfg.get("label_names") or ()
    if names and tuple(names) != data.class_names:
        i = next(i for i, (own, given) in enumerate(zip(names, data.class_names, strict=True)) if own != given)
        raise ValueError(
            f"class {i} is {names[i]!r} for the model and {data.class_names[i]!r} in the data; "
            "rename the data's classes, or bring them into the model's order"
        )
