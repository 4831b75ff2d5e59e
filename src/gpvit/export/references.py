"""What a model in torch answers to a batch that an exported graph is given, output by output."""

from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import nn
from torchvision.transforms.v2 import functional as F

from gpvit.layers.group_propagation import GroupPropagationBlock
from gpvit.models.backbone import GPViT
from gpvit.runtime.metadata import Metadata

Answer = tuple[torch.Tensor, torch.Tensor | None]
"""An output's values, and the scores ``(B, K, ...)`` by which classes are chosen, where any are."""


@torch.inference_mode()
def reference(model: Any, images: torch.Tensor, metadata: Metadata) -> dict[str, Answer]:
    """Compute the outputs of a graph, by name, with the model itself."""
    if metadata.input == "uint8":
        how = metadata.preprocessing
        floats = F.to_dtype(images.permute(0, 3, 1, 2), torch.float32, scale=True)
        images = F.normalize(floats, how["mean"], how["std"])
    maps: dict[str, Answer] = {}
    with ExitStack() as hooks:
        backbone = next((module for module in model.modules() if isinstance(module, GPViT)), None)
        if backbone is not None and any(name.startswith("grouping_") for name in metadata.outputs):
            for index, block in enumerate(backbone.blocks):
                if isinstance(block, GroupPropagationBlock):
                    hooks.enter_context(block.register_forward_pre_hook(partial(_keep_maps, maps, index)))
        answers = _classify(model, images) if metadata.task == "classification" else _segment(model, images, metadata)
    rows, columns = (-(-side // getattr(backbone, "stride", 1)) for side in images.shape[2:])
    return answers | {name: (values[..., :rows, :columns], None) for name, (values, _) in maps.items()}


def _classify(model: nn.Module, images: torch.Tensor) -> dict[str, Answer]:
    logits = model(images)
    probabilities = logits.softmax(dim=1)
    return {"logits": (logits, logits), "probabilities": (probabilities, probabilities)}


def _segment(model: Any, images: torch.Tensor, metadata: Metadata) -> dict[str, Answer]:
    if metadata.input == "float":
        logits = model.forward_low(images)
        return {"logits": (logits, logits)}
    logits = model(images)
    return {"labels": (logits.argmax(dim=1), logits)}


def _keep_maps(maps: dict[str, Answer], index: int, block: GroupPropagationBlock, inputs: Any) -> None:
    both = block.forward_with_maps(*inputs)[1]
    maps |= {f"grouping_{index}": (both.grouping, None), f"ungrouping_{index}": (both.ungrouping, None)}
