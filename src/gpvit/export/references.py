"""What a model in torch answers to a batch that an exported graph is given, output by output."""

from contextlib import nullcontext
from copy import copy
from typing import Any

import torch
from torchvision.transforms.v2 import functional as F

from gpvit.models.backbone import backbone_of
from gpvit.models.detection.inputs import DIVISOR
from gpvit.models.group_maps import keeping_group_maps
from gpvit.runtime.metadata import Metadata

Answer = tuple[torch.Tensor, torch.Tensor | None]
"""An output's values, and the scores ``(B, K, ...)`` by which classes are chosen, where any are."""
Found = dict[str, torch.Tensor]


@torch.inference_mode()
def reference(model: Any, images: torch.Tensor, metadata: Metadata) -> tuple[dict[str, Answer], list[Found]]:
    """Compute with the model itself the outputs of a graph, by name, and of a detector what it finds in each image."""
    backbone = backbone_of(model)
    with nullcontext({}) if backbone is None else keeping_group_maps(backbone) as maps:
        if metadata.task == "detection":
            answers, found = {}, _detect(model, images, metadata)
        else:
            answers, found = _ANSWERS[metadata.task](model, images, metadata), []
    for index, both in maps.items():
        answers |= {f"grouping_{index}": (both.grouping, None), f"ungrouping_{index}": (both.ungrouping, None)}
    return answers, found


def _normalized(images: torch.Tensor, metadata: Metadata) -> torch.Tensor:
    """Make of bytes ``(B, H, W, C)`` what the network takes; floats are that already."""
    if metadata.input == "float":
        return images
    floats = F.to_dtype(images.permute(0, 3, 1, 2), torch.float32, scale=True)
    return F.normalize(floats, metadata.preprocessing["mean"], metadata.preprocessing["std"])


def _classify(model: Any, images: torch.Tensor, metadata: Metadata) -> dict[str, Answer]:
    logits = model(_normalized(images, metadata))
    probabilities = logits.softmax(dim=1)
    return {"logits": (logits, logits), "probabilities": (probabilities, probabilities)}


def _segment(model: Any, images: torch.Tensor, metadata: Metadata) -> dict[str, Answer]:
    if metadata.input == "float":
        logits = model.forward_low(images)
        return {"logits": (logits, logits)}
    logits = model(_normalized(images, metadata))
    return {"labels": (logits.argmax(dim=1), logits)}


_ANSWERS = {"classification": _classify, "segmentation": _segment}


def _detect(model: Any, images: torch.Tensor, metadata: Metadata) -> list[Found]:
    """Find objects; normalised floats are neither resized nor normalised again, but padded."""
    model = copy(model)
    model.mask_format = "box"  # of the copy alone
    if metadata.input == "uint8":
        return list(model(list(F.to_dtype(images.permute(0, 3, 1, 2), torch.float32, scale=True))))
    height, width = images.shape[2:]
    padded = F.pad(images, [0, 0, -width % DIVISOR, -height % DIVISOR])
    sizes = [(height, width)] * len(images)
    return list(model.detect(list(model.backbone(padded).values()), sizes, sizes))
