"""What an exported file says of its model: tasks, classes, preprocessing, versions, and a digest of the weights."""

import hashlib
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from gpvit.inference.metadata import (
    categories_of,
    class_colors_of,
    class_names_of,
    preprocessing_of,
    segmentation_preprocessing_of,
    task_of,
)
from gpvit.models.backbone import MIN_SIDE, backbone_of
from gpvit.runtime.metadata import PREPROCESSING, Metadata
from gpvit.version import __version__


def describe(model: Any, outputs: tuple[str, ...], **settings: Any) -> Metadata:
    """Describe a model as its file will, without a table of parity.

    Args:
        model: A classifier, segmenter or detector.
        outputs: Names of the graph's outputs.
        **settings: What is chosen for the file: ``input``, ``fixed_size``, ``precision`` and ``opset``.
    """
    task, heads = task_of(model), getattr(model, "roi_heads", model)
    thresholds = {"score": "score_thresh", "nms": "nms_thresh", "detections": "detections_per_img"}
    return Metadata(
        name=name_of(model),
        task=task,
        num_classes=model.num_classes,
        in_chans=in_chans_of(model),
        stride=model.stride if task == "segmentation" else None,
        min_side=1 if backbone_of(model) is None else MIN_SIDE,
        outputs=list(outputs),
        preprocessing=_preprocessing(model, task, settings["fixed_size"]),
        label_names=list(class_names_of(model)),
        label_colors=None if task == "classification" else [list(color) for color in class_colors_of(model)],
        category_ids=list(categories_of(model).ids) if task == "detection" else None,
        thresholds={key: getattr(heads, name) for key, name in thresholds.items() if task == "detection"},
        versions={"gpvit": __version__, "torch": torch.__version__, "timm": version("timm")},
        weights_sha256=_digest(model),
        parity=[],
        **settings,
    )


def name_of(model: Any) -> str:
    """Return the name that a model was made by, in the catalog or in timm."""
    config = getattr(model, "gpvit_config", None) or {}
    return config.get("name") or getattr(model, "pretrained_cfg", {}).get("architecture") or type(model).__name__


def in_chans_of(model: Any) -> int:
    """Return how many channels a model's images have."""
    return int(getattr(model, "in_chans", model.pretrained_cfg["input_size"][0]))


def _preprocessing(model: Any, task: str, fixed_size: list[int] | None) -> dict[str, Any]:
    """Describe how an image becomes the network's input; a classifier's is of the size that is fixed."""
    given = dict(model.pretrained_cfg)
    if in_chans_of(model) in (1, 3) and task != "detection":  # of other channels, no image file has any
        read = preprocessing_of if task == "classification" else segmentation_preprocessing_of
        given = read(model).to_dict()
    if task == "classification" and fixed_size is not None:
        given["input_size"] = (in_chans_of(model), *fixed_size)
    told = {key: given[key] for key in PREPROCESSING[task]} | {"antialias": task == "classification"}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in told.items()}


def _digest(model: nn.Module) -> str:
    """Compute the SHA-256 of all weights with their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
