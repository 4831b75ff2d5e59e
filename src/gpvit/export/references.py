"""What a model in torch answers to a batch that an exported graph is given, output by output."""

from contextlib import ExitStack
from copy import copy
from functools import partial
from typing import Any

import torch
from torchvision.transforms.v2 import functional as F

from gpvit.layers.group_propagation import GroupPropagationBlock
from gpvit.models.backbone import GPViT
from gpvit.models.detection.inputs import DIVISOR
from gpvit.runtime.metadata import Metadata

Answer = tuple[torch.Tensor, torch.Tensor | None]
"""An output's values, and the scores ``(B, K, ...)`` by which classes are chosen, where any are."""
Found = dict[str, torch.Tensor]


@torch.inference_mode()
def reference(model: Any, images: torch.Tensor, metadata: Metadata) -> tuple[dict[str, Answer], list[Found]]:
    """Compute with the model itself the outputs of a graph, by name, and of a detector what it finds in each image."""
    maps: dict[str, Answer] = {}
    with ExitStack() as hooks:
        seen: list[torch.Size] = []
        backbone = next((module for module in model.modules() if isinstance(module, GPViT)), None)
        if backbone is not None and any(name.startswith("grouping_") for name in metadata.outputs):
            hooks.enter_context(backbone.stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape)))
            for index, block in enumerate(backbone.blocks):
                if isinstance(block, GroupPropagationBlock):
                    hooks.enter_context(block.register_forward_pre_hook(partial(_keep_maps, maps, index)))
        if metadata.task == "detection":
            answers, found = {}, _detect(model, images, metadata)
        else:
            answers, found = _ANSWERS[metadata.task](model, images, metadata), []
    for name, (values, _) in maps.items():
        assert backbone is not None
        rows, columns = (-(-side // backbone.stride) for side in seen[0][2:])
        answers[name] = (values[..., :rows, :columns], None)
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


def _keep_maps(maps: dict[str, Answer], index: int, block: GroupPropagationBlock, inputs: Any) -> None:
    both = block.forward_with_maps(*inputs)[1]
    maps |= {f"grouping_{index}": (both.grouping, None), f"ungrouping_{index}": (both.ungrouping, None)}
