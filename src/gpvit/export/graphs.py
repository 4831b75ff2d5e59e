"""What is exported of a model: a module from a batch of images to tensors, each of which has a name.

Shape letters: B batch, K classes, C channels of the image, H W its size, h w the grid of logits or tokens, M groups.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from gpvit.data.transforms.preprocessing import InputSpec
from gpvit.errors import UserError
from gpvit.export.detection import DetectionGraph
from gpvit.inference.metadata import preprocessing_of, segmentation_preprocessing_of, task_of
from gpvit.models.backbone import backbone_of
from gpvit.models.group_maps import group_blocks, keeping_group_maps
from gpvit.models.segmenter import Segmenter


class FromBytes(nn.Module):
    """Bytes ``(B, H, W, C)`` to what a network takes, normalised floats ``(B, C, H, W)``."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, preprocessing: InputSpec):
        super().__init__()
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(getattr(preprocessing, name)).view(-1, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Scale to [0, 1] and normalise."""
        return (images.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std


class ClassificationGraph(nn.Module):
    """Normalised images to ``logits`` ``(B, K)``; or bytes to ``probabilities`` ``(B, K)``."""

    def __init__(self, model: nn.Module, uint8: bool):
        super().__init__()
        self.model = model
        self.from_bytes = FromBytes(preprocessing_of(model)) if uint8 else None
        self.output_names = ("probabilities",) if uint8 else ("logits",)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Classify."""
        if self.from_bytes is None:
            return (self.model(images),)
        return (self.model(self.from_bytes(images)).softmax(dim=1),)


class SegmentationGraph(nn.Module):
    """Normalised images to the decoder's ``logits`` ``(B, K, h, w)``; or bytes to ``labels`` ``(B, H, W)``.

    Labels are uint8, or int32 of more than 255 classes.
    """

    def __init__(self, model: Segmenter, uint8: bool):
        super().__init__()
        self.model = model
        self.from_bytes = FromBytes(segmentation_preprocessing_of(model)) if uint8 else None
        self.output_names = ("labels",) if uint8 else ("logits",)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Segment."""
        if self.from_bytes is None:
            return (self.model.forward_low(images),)
        labels = self.model(self.from_bytes(images)).argmax(dim=1)
        return (labels.to(torch.uint8 if self.model.num_classes <= 255 else torch.int32),)


class WithGroups(nn.Module):
    """A graph whose outputs are followed by the attentions of each block `i` of group propagation.

    They are ``grouping_i`` and ``ungrouping_i``, ``(B, heads, M, h, w)`` over the token grid of what the network sees.
    """

    def __init__(self, graph: Any, model: nn.Module):
        super().__init__()
        self.network = graph  # a child called `graph` would hide that of torch.fx
        self.backbone = [backbone_of(model)]  # in a list it is no second child
        groups = [] if self.backbone[0] is None else group_blocks(self.backbone[0])
        if not groups:
            raise UserError(f"{type(model).__name__} has no group propagation block; leave out the groups")
        maps = [f"{kind}_{i}" for i in groups for kind in ("grouping", "ungrouping")]
        self.output_names = (*graph.output_names, *maps)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Run the graph, and keep the maps on the way."""
        (backbone,) = self.backbone
        assert backbone is not None
        with keeping_group_maps(backbone) as maps:
            return (*self.network(images), *(each for both in maps.values() for each in both))


GRAPHS: dict[str, Callable[[Any, bool], nn.Module]] = {
    "classification": ClassificationGraph,
    "segmentation": SegmentationGraph,
    "detection": DetectionGraph,
}
"""The graph of each task: called with a model and whether it takes bytes."""


def build_graph(model: nn.Module, uint8: bool = False, groups: bool = False) -> nn.Module:
    """Make what is exported of a model: a module with ``output_names``, from ``images`` to a tuple of as many tensors.

    Raises:
        ValueError: The model has no classes, or no groups where they are asked for.
    """
    if not getattr(model, "num_classes", 0):
        raise UserError(f"{type(model).__name__} has no classifier, so there is no answer to export: give num_classes")
    graph = GRAPHS[task_of(model)](model, uint8)
    return (WithGroups(graph, model) if groups else graph).eval()
