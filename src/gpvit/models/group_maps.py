"""The attentions of group propagation blocks, kept while a network runs."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from gpvit.errors import UserError
from gpvit.layers.group_propagation import GroupMaps, GroupPropagationBlock


def group_blocks(backbone: Any) -> list[int]:
    """Return the index of each group propagation block of a GPViT."""
    return [i for i, block in enumerate(backbone.blocks) if isinstance(block, GroupPropagationBlock)]


@contextmanager
def keeping_group_maps(backbone: Any) -> Iterator[dict[int, GroupMaps]]:
    """Fill a dict, by the blocks' index, as often as a GPViT runs meanwhile, alone or within a model.

    The maps are cut to the token grid of what the network sees, as those of :meth:`gpvit.GPViT.group_maps` are.
    """
    if backbone.training:
        raise UserError("group maps are those of a model in evaluation mode: call eval() first, as in model.eval()")
    maps: dict[int, GroupMaps] = {}
    grid: list[int] = []

    def see(stem: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        # Not with a negative number, whose quotient ONNX rounds the other way.
        grid[:] = [(side + backbone.stride - 1) // backbone.stride for side in inputs[0].shape[-2:]]

    def keep(index: int, block: Any, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
        output, both = block.forward_with_maps(*inputs)
        padding = (0, grid[1] - both[0].shape[-1], 0, grid[0] - both[0].shape[-2])  # cuts the stem's padding off
        maps[index] = GroupMaps(*(F.pad(each, padding) for each in both))
        return output

    with ExitStack() as hooks:
        hooks.enter_context(backbone.stem.register_forward_pre_hook(see))
        for index in group_blocks(backbone):
            hooks.enter_context(backbone.blocks[index].register_forward_hook(partial(keep, index)))
        yield maps
