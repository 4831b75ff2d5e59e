"""Scores a trained model on a dataset: prediction, batch by batch, and a metric."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import nn
from torch.utils.data import DataLoader

from gpvit.data import Digits, ImageFolder, Shards
from gpvit.data.detection import COCO, Categories, ObjectFolder, write_coco_results
from gpvit.data.detection import DigitScenes as DetectionScenes
from gpvit.data.module import ImageData
from gpvit.data.segmentation import ADE20K, DigitScenes, MaskFolder
from gpvit.devices import place
from gpvit.errors import UserError
from gpvit.inference.forward import forward_logits
from gpvit.inference.inferers import Inferer, WholeImage
from gpvit.inference.metadata import preprocessing_of, segmentation_preprocessing_of, task_of, usual_class_names
from gpvit.inference.windows import finder
from gpvit.io import located
from gpvit.models.prepared import Prepared
from gpvit.tasks.coco_ap import DetectionScores
from gpvit.tasks.detection import detect
from gpvit.tasks.metrics import ClassificationScores, SegmentationScores

_ALL_DETECTIONS = 10**6  # of an image that is looked at in windows; COCO's 100 are for whole images


class Source(NamedTuple):
    """Where the data of a task come from, and how its images are taken."""

    own_name: str  # of data that need no file
    own: Any
    layout: str  # what lies in the folder of the dataset
    dataset: Any
    folder: Any  # opens any other folder
    batch_size: int
    prepare: Callable[[nn.Module], Any] | None  # reads from a model how images are prepared


SOURCES = {
    "classification": Source("digits", Digits, "_info.json", Shards, ImageFolder, 64, preprocessing_of),
    "segmentation": Source(
        "digit_scenes", DigitScenes, "annotations/validation", ADE20K, MaskFolder, 1, segmentation_preprocessing_of
    ),
    "detection": Source(
        "digit_scenes", DetectionScenes, "annotations/instances_val2017.json", COCO, ObjectFolder, 1, None
    ),
}


def find_data(task: str, source: str | Path | None) -> type:
    """Find the data module of a task for a folder, by its layout; None or the name of the task's own data need none."""
    kind = SOURCES[task]
    if source is None or source == kind.own_name:
        return kind.own
    return kind.dataset if (located(source) / kind.layout).exists() else kind.folder


def open_data(kind: type, model: nn.Module, **options: Any) -> ImageData:
    """Open data to evaluate a model on, a data module of its task, prepared as the model asks for.

    `options` are the module's; by default it takes the task's batch size, and masks where the model finds some.
    """
    task = task_of(model)
    source = SOURCES[task]
    if source.prepare is not None and "preprocessing" in options:
        raise UserError("leave out data.preprocessing: images are prepared as the checkpoint says")
    usual = {"batch_size": source.batch_size, **({"masks": model.has_masks} if task == "detection" else {})}
    ours = kind.__module__.startswith("gpvit.")
    data: ImageData = kind(**{**(usual if ours else {}), **options})
    if source.prepare is not None:
        data.preprocessing = source.prepare(model)
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
        inferer: How a segmenter labels an image, a `WholeImage` or a `SlidingWindow`, or the windows in which a
            detector looks, and then all detections count; None takes whole images, and COCO's 100 surest detections
            of each, as the published scores do.
        results: Detectors only: file for all detections, in COCO's result format.
        device: Where to compute; None takes a GPU if there is one.
        progress: Show a progress bar, on stderr.

    Returns:
        The scores of the task's metric, from 0 to 1, None where the data say nothing, the one that counts most first;
        the number of `images`; and, of segmenters and detectors, the scores of `classes` by their names.
    """
    task = task_of(model)
    if results is not None and task != "detection":
        raise UserError(f"leave out results: it is for detection, and the model is for {task}")
    if inferer is not None and task == "classification":
        raise UserError(f"leave out inferer: the model is for {task}, and sees images whole")
    labels = _matched_labels(model, data)
    model = Prepared(place(model.eval(), device))()
    data.setup("validate")
    predict, metric, batches = _parts(model, data, inferer, labels)
    images = 0
    with torch.inference_mode():
        bar: dict[str, Any] = {"console": Console(stderr=True), "disable": not progress, "transient": True}
        for inputs, targets in track(batches, "evaluating", **bar):
            metric.update(predict(inputs), targets)
            images += len(targets)
    scores = metric.compute()
    if results is not None:
        write_coco_results(metric.to_coco_results(data.categories), results)
    report: dict[str, Any] = {name: _rounded(score) for name, score in scores.items() if score.ndim == 0}
    report["images"] = images
    if by_class := {name.removesuffix("_per_class"): score for name, score in scores.items() if score.ndim == 1}:
        report["classes"] = {
            class_name: {name: _rounded(score[i]) for name, score in by_class.items()}
            for i, class_name in enumerate(data.class_names)
        }
    return report


def _parts(
    model: Any, data: Any, inferer: Inferer | None, labels: list[int] | None
) -> tuple[Callable[[Any], Any], Any, Any]:
    """Give what predicts, the metric that takes predictions and targets, and batches of inputs and targets.

    `labels` are those of the data of a detector's labels, from 1; None where they are equal.
    """
    task, device = task_of(model), next(model.parameters()).device

    def find(images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        found = look([image.to(device) for image in images])
        if labels is None:
            return found
        table = torch.tensor([0, *labels], device=device)
        return [{**each, "labels": table[each["labels"]]} for each in found]

    def label(image: Image.Image) -> torch.Tensor:
        return torch.from_numpy((inferer or WholeImage())(model, image, data.preprocessing))[None]

    if task == "segmentation":  # each image by itself, at its own size
        options = {"batch_size": None, "num_workers": data.num_workers, "collate_fn": _whole_image}
        return label, SegmentationScores(data.num_classes), DataLoader(data.samples("val"), **options)
    if task == "detection":
        look = finder(model, partial(detect, model), inferer)
        most = 100 if inferer is None else _ALL_DETECTIONS
        masks = model.has_masks and data.masks
        return find, DetectionScores(data.class_names, masks, most), data.val_dataloader()
    scores = ClassificationScores(data.num_classes).to(device)
    return partial(forward_logits, model), scores, data.val_dataloader()


def _whole_image(sample: Any) -> tuple[Image.Image, torch.Tensor]:
    return sample.image, torch.from_numpy(sample.mask)[None]


def _rounded(value: torch.Tensor) -> float | None:
    return None if math.isnan(value) else round(float(value), 6)


def _matched_labels(model: Any, data: Any) -> list[int] | None:
    """Check number and names of classes, where the model's file tells them.

    A detector's categories are matched by name: the label in the data of each label, from 1; None where all are equal.
    """
    names, ids = (model.pretrained_cfg.get(fact) or () for fact in ("label_names", "category_ids"))
    if names and ids and hasattr(data, "categories"):
        return Categories(names, ids).matched(data.categories, "the model", "the data")
    if model.num_classes != data.num_classes:
        raise UserError(
            f"the model tells {model.num_classes} classes apart, the data have {data.num_classes}; "
            "evaluate it on data with its own classes, or train it on these"
        )
    if tuple(names) == usual_class_names(task_of(model), model.num_classes):
        return None  # an exported file names its classes though nobody else did
    for i, (own, given) in enumerate(zip(names, data.class_names, strict=False)):
        if own != given:
            raise UserError(
                f"class {i} is {own!r} for the model and {given!r} in the data; "
                "rename the data's classes, or bring them into the model's order"
            )
    return None
