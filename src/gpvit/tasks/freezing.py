"""Parts of a network that fine-tuning leaves as they are."""

import warnings
from types import MethodType
from typing import Literal

from torch import nn

from gpvit.errors import UserError
from gpvit.tasks.layer_ids import find_transformer, layer_numbers

Frozen = Literal["backbone"] | int
"""What is frozen: the `backbone`, or its stem and so many of its blocks, from the first.

The backbone is the transformer that classification pretrains, up to its last norm. What dense prediction adds learns:
adapter, pyramid, heads, and the norms of the features of single blocks. So do a classifier's pooling and head.
"""

_NEW = ("feature_norms.",)  # no classifier has them


def freeze(network: nn.Module, part: Frozen | None, is_trained: bool = True) -> None:
    """Exclude a part of a network from learning, for good.

    Its parameters get no gradient, so that an optimiser that skips such neither moves them nor keeps anything for them.
    Its modules stay in evaluation mode, whatever mode the network is put into: batch norms keep their statistics, and
    nothing is dropped.

    Args:
        network: A classifier, a segmenter or a detector.
        part: What; None for nothing.
        is_trained: Whether the network holds weights that were trained; if not, a warning says that noise is frozen.

    Raises:
        ValueError: If there are fewer blocks, or the backbone's blocks cannot be counted.
    """
    if part is None:
        return
    if not is_trained:
        warnings.warn(
            f"freeze: {part} keeps random values as they are; name trained weights by weights or backbone_weights",
            stacklevel=2,
        )
    names = _backbone_names(network) if part == "backbone" else _first_blocks(network, part)
    for name, parameter in network.named_parameters():
        if name in names:
            parameter.requires_grad_(False)
    for module in _wholly_frozen(network):
        module.eval()
        # Lightning and others call `train` on what holds the module, which passes it on to its parts.
        module.train = MethodType(_stay, module)  # type: ignore[method-assign]


def _backbone_names(network: nn.Module) -> set[str]:
    prefix, transformer = find_transformer(network)
    learning = _NEW + (getattr(transformer, "head_names", ()) if transformer is network else ())
    return {f"{prefix}{name}" for name, _ in transformer.named_parameters() if not name.startswith(learning)}


def _first_blocks(network: nn.Module, count: int) -> set[str]:
    layers = layer_numbers(network, f"freeze: {count}")
    prefix, transformer = find_transformer(network)
    if not 0 <= count <= len(transformer.blocks):
        raise UserError(
            f"freeze: {count}, but the backbone has {len(transformer.blocks)} blocks; give 0, for its stem alone, to "
            f"{len(transformer.blocks)}, or 'backbone'"
        )
    blocks = tuple(f"{prefix}blocks.{i}." for i in range(count))
    return {name for name, layer in layers.items() if layer == 0 or name.startswith(blocks)}


def _wholly_frozen(module: nn.Module) -> list[nn.Module]:
    """List the largest modules that hold nothing but frozen parameters."""
    parameters = list(module.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        return [module]
    return [part for child in module.children() for part in _wholly_frozen(child)]


def _stay(module: nn.Module, mode: bool = True) -> nn.Module:
    """Stand in for `train` of a frozen module."""
    return module
