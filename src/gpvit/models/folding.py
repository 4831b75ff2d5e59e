"""Exact folds: a copy of a network for inference that computes the same, up to rounding, with less work.

What more than its class acts in stays as it is: a layer with hooks, a ``forward`` of its own, a parametrised or
pruned weight, another class in its place, a norm that is without running statistics.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from timm.layers import DropPath
from torch import nn
from torchvision.ops import Conv2dNormActivation

from gpvit.layers.convolutions import ConvNorm, ConvNormReLU
from gpvit.layers.folded_propagation import FoldedGrouping, FoldedUngrouping, constant, merge_of_attended, precise
from gpvit.layers.group_propagation import Grouping, GroupPropagationBlock, Ungrouping


def fold(model: nn.Module) -> nn.Module:
    """Copy a network, folded, in evaluation mode; the given one stays as it is.

    Batch norms go into the convolutions before them, and projections in group propagation blocks into what comes
    before or after. Outputs are equal up to rounding. The copy shares no memory, cannot be trained any more, and its
    weights have other names: keep the network itself for training and for files.

    Args:
        model: Any module; what no fold is known for is copied as it is. Hooks are copied as well.

    Example:
        >>> model = GPViT(num_classes=10).eval()
        >>> images = torch.rand(1, 3, 64, 64)
        >>> torch.allclose(fold(model)(images), model(images), atol=1e-5)
        True
    """
    # The result of a computation, as a pruned weight is, has no copy.
    results = {id(value): value for module in model.modules() for value in vars(module).values() if _is_result(value)}
    return fold_in_place(copy.deepcopy(model, {key: value.detach().clone() for key, value in results.items()}))


@torch.no_grad()
def fold_in_place(model: nn.Module) -> nn.Module:
    """Fold a network that nobody else has; modules are replaced, and no tensor changes its values."""
    model.eval().requires_grad_(False)
    for module in list(model.modules()):
        for kind, folds in FOLDS.items():
            if type(module) is kind:
                folds(module)
    return model


def is_hooked(module: nn.Module) -> bool:
    """Tell whether calling a module does more than its class does: hooks, or a ``forward`` of its own."""
    own = vars(module)
    before = own["_forward_pre_hooks"] or own["_backward_pre_hooks"]
    after = own["_forward_hooks"] or own["_backward_hooks"]
    return bool(before or after) or "forward" in own


def is_plain(module: Any, *kinds: type[nn.Module]) -> bool:
    """Tell whether a module is of one of some classes, and calling it does no more than these do with their weights."""
    weights = all(type(weight) is nn.Parameter for weight in module.parameters(recurse=False))
    return type(module) in kinds and weights and not is_hooked(module)


def _is_result(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.grad_fn is not None


def _normed(conv: Any, norm: Any) -> nn.Conv2d | None:
    """Make the convolution that does what a convolution and a batch norm do; None where there is more to them."""
    if not (is_plain(conv, nn.Conv2d) and is_plain(norm, nn.BatchNorm2d)) or norm.running_var is None:
        return None
    scale = torch.rsqrt(precise(norm.running_var) + norm.eps)
    shift = -precise(norm.running_mean) * scale
    if norm.affine:
        scale, shift = (value * precise(norm.weight) for value in (scale, shift))
        shift += precise(norm.bias)
    if conv.bias is not None:
        shift += precise(conv.bias) * scale
    folded = copy.deepcopy(conv)
    folded.weight = constant(precise(conv.weight) * scale.view(-1, 1, 1, 1), conv.weight)
    folded.bias = constant(shift, conv.weight)
    return folded


def fold_conv_norm(layer: ConvNorm) -> None:
    """Put a batch norm into the weights of the convolution before it, which saves a pass over the map."""
    if folded := _normed(layer.conv, layer.norm):
        layer.conv, layer.norm = folded, nn.Identity()  # type: ignore[assignment]


def fold_sequence(layers: nn.Sequential) -> None:
    """Put each batch norm of a sequence into the convolution right before it."""
    for i in range(len(layers) - 1):
        if folded := _normed(layers[i], layers[i + 1]):
            layers[i], layers[i + 1] = folded, nn.Identity()


def _is_linear(layer: Any) -> bool:
    return is_plain(layer, nn.Linear) and layer.bias is not None


def fold_grouping(block: GroupPropagationBlock) -> None:
    """Move the projection of the keys of all image tokens onto the queries, where these are few."""
    grouping, (_, groups, dim) = block.grouping, block.group_tokens.shape
    whole = is_plain(grouping, Grouping) and _is_linear(grouping.key)
    # The fused attention kernel is lost, and a softmax over all tokens is written: measured, it pays from here.
    if whole and is_plain(grouping.norm_query, nn.LayerNorm) and 3 * grouping.num_heads * groups <= 2 * dim:
        block.grouping = FoldedGrouping(grouping, block.group_tokens)  # type: ignore[assignment]


def fold_ungrouping(block: GroupPropagationBlock) -> None:
    """Put the projection of the answers into their merging; with few groups, all projections into keys and values."""
    ungrouping, (_, groups, dim) = block.ungrouping, block.group_tokens.shape
    if not is_plain(ungrouping, Ungrouping) or ungrouping.merge is None:
        return
    if not all(_is_linear(layer) for layer in (ungrouping.proj, ungrouping.merge, ungrouping.query)):
        return
    if not is_plain(ungrouping.drop_path, DropPath, nn.Identity):
        return
    if ungrouping.num_heads * groups <= dim:
        block.ungrouping = FoldedUngrouping(ungrouping)  # type: ignore[assignment]
    else:
        ungrouping.merge, ungrouping.proj = merge_of_attended(ungrouping), nn.Identity()  # type: ignore[assignment]


def fold_propagation(block: GroupPropagationBlock) -> None:
    """Fold both attentions between groups and image tokens."""
    fold_grouping(block)
    fold_ungrouping(block)


FOLDS: dict[type[nn.Module], Callable[[Any], None]] = {
    ConvNorm: fold_conv_norm,
    ConvNormReLU: fold_conv_norm,
    nn.Sequential: fold_sequence,
    Conv2dNormActivation: fold_sequence,
    GroupPropagationBlock: fold_propagation,
}
"""What is done to modules of exactly these classes."""
