"""What is exported of a model: a module from a batch of images to tensors, each of which has a name.

Shape letters: B batch, K classes, C channels of the image, H W its size, h w the grid of logits or tokens, M groups.
"""

from typing import Any

import torch
from torch import nn

from gpvit.errors import UserError
from gpvit.export.detection import DetectionGraph
from gpvit.inference.metadata import preprocessing_of, segmentation_preprocessing_of, task_of
from gpvit.models.backbone import backbone_of
from gpvit.models.group_maps import group_blocks, keeping_group_maps
from gpvit.runtime.metadata import needed_outputs


class ImageGraph(nn.Module):
    """Normalised images to the ``logits`` of a classifier, ``(B, K)``, or of a segmenter's decoder, ``(B, K, h, w)``.

    Bytes ``(B, H, W, C)`` are normalised here, to ``probabilities`` ``(B, K)`` or ``labels`` ``(B, H, W)``. Labels are
    uint8, or int32 of more than 255 classes.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, model: Any, uint8: bool):
        super().__init__()
        self.model, self.uint8, task = model, uint8, task_of(model)
        self.segments = task == "segmentation"
        self.output_names = needed_outputs(task, "uint8" if uint8 else "float")
        if uint8:
            preprocessing = segmentation_preprocessing_of(model) if self.segments else preprocessing_of(model)
            for name in ("mean", "std"):
                self.register_buffer(name, torch.tensor(getattr(preprocessing, name)).view(-1, 1, 1))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Classify or segment."""
        if not self.uint8:
            return (self.model.forward_low(images) if self.segments else self.model(images),)
        logits = self.model((images.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std)
        if not self.segments:
            return (logits.softmax(dim=1),)
        return (logits.argmax(dim=1).to(torch.uint8 if self.model.num_classes <= 255 else torch.int32),)


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


def build_graph(model: nn.Module, uint8: bool = False, groups: bool = False) -> nn.Module:
    """Make what is exported of a model: a module with ``output_names``, from ``images`` to a tuple of as many tensors.

    Raises:
        ValueError: The model has no classes, or no groups where they are asked for.
    """
    if not getattr(model, "num_classes", 0):
        raise UserError(f"{type(model).__name__} has no classifier, so there is no answer to export: give num_classes")
    graph = (DetectionGraph if task_of(model) == "detection" else ImageGraph)(model, uint8)
    return (WithGroups(graph, model) if groups else graph).eval()
