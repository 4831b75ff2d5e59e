"""Scores a trained classifier on a data set."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from torch import nn
from torchmetrics import MeanMetric

from gpvit.data.classification import ClassificationData
from gpvit.data.digits import Digits
from gpvit.data.folders import ImageFolder
from gpvit.data.preprocessing import Preprocessing
from gpvit.data.shards import Shards
from gpvit.models.devices import choose_device
from gpvit.tasks.accuracy import accuracies


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
        batches = track(
            data.val_dataloader(), "evaluating", console=Console(stderr=True), disable=not progress, transient=True
        )
        for images, labels in batches:
            images, labels = images.to(where), labels.to(where)
            logits = model(images)
            metrics.update(logits, labels)
            loss.update(nn.functional.cross_entropy(logits, labels), weight=len(labels))
            images_seen += len(labels)
    scores = {**metrics.compute(), "loss": loss.compute()}
    order = ("top1", "top5", "mean_class_accuracy", "loss")
    return {**{name: round(float(scores[name]), 6) for name in order if name in scores}, "images": images_seen}


def _check_classes(model: Any, data: ClassificationData) -> None:
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
