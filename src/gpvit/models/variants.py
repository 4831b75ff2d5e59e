"""Which blocks a GPViT is made of: the kinds there are, the paper's sequence of them, and the sizes."""

import inspect
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

from torch import nn

from gpvit.errors import UserError
from gpvit.layers.group_propagation import GroupPropagationBlock
from gpvit.layers.local_attention import LocalBlock

Layout = Sequence[Mapping[str, Any]]

BLOCKS: dict[str, Callable[..., nn.Module]] = {"local": LocalBlock, "group": GroupPropagationBlock}
"""The kinds of block that a layout can name; each maps ``(B, H, W, C)`` to ``(B, H, W, C)``."""
_OWN = frozenset(BLOCKS)


def register_block(name: str, block: Callable[..., nn.Module]) -> None:
    """Add a kind of block that layouts, and files of models with such blocks, name.

    Args:
        name: What stands as ``kind`` in a layout. A name registered before is given to the new block.
        block: Class of a module, or a function that makes one, that maps tokens ``(B, H, W, C)`` to ``(B, H, W, C)``.
            It is called with the arguments that stand beside ``kind``, and with those of ``dim`` (``C``), ``drop_path``
            and ``mlp_ratio`` that it takes.

    Raises:
        ValueError: If the name is one of this package's own kinds, or no name at all.

    Example:
        >>> class Shift(torch.nn.Module):
        ...     def forward(self, x):
        ...         return x.roll(1, dims=1)
        >>> register_block("shift", Shift)
        >>> GPViT(blocks=[{"kind": "local"}, {"kind": "shift"}])(torch.rand(1, 3, 64, 64)).shape
        torch.Size([1, 1000])
    """
    check_new_name("block", name, block, _OWN)
    BLOCKS[name] = block


def check_new_name(what: str, name: str, made_by: Any, taken: Container[str]) -> None:
    """Refuse to register what makes no modules, or by a name that cannot be one or belongs to this package."""
    if not isinstance(name, str) or not name.isidentifier():
        raise UserError(f"the name of a {what} must be letters, digits and underscores; got {name!r}")
    if name in taken:
        raise UserError(f"{name!r} is a {what} of gpvit's own; choose another name")
    if not callable(made_by) or isinstance(made_by, nn.Module):
        raise UserError(f"a {what} must be a class of modules, or a function that makes one; got {made_by!r:.100}")


def layout(
    num_groups: Sequence[int] = (64, 32, 32, 16), local_heads: int = 12, group_heads: int = 6
) -> tuple[dict[str, Any], ...]:
    """Describe the paper's twelve blocks: group propagation at 1, 4, 7 and 10, local attention elsewhere.

    Args:
        num_groups: Group tokens of the four group propagation blocks.
        local_heads: Heads of a local block, both stripe directions together.
        group_heads: Heads of the cross-attentions of a group propagation block.
    """
    local = {"kind": "local", "num_heads": local_heads}
    return tuple(
        block
        for groups in num_groups
        for block in (local, {"kind": "group", "num_groups": groups, "num_heads": group_heads}, local)
    )


VARIANTS: dict[str, dict[str, Any]] = {
    # Ours, not the paper's: small enough for a CPU.
    "gpvit_nano": {"embed_dim": 72, "blocks": layout((16, 16, 16, 16), 4, 2), "pool_heads": 2},
    "gpvit_tiny": {"embed_dim": 144, "blocks": layout((32, 32, 32, 16), 8, 4), "pool_heads": 4},
    # The paper's (Table 1); the pooling is that of the released weights.
    "gpvit_l1": {"embed_dim": 216},
    "gpvit_l2": {"embed_dim": 348, "stem_convs": 1},
    "gpvit_l3": {"embed_dim": 432, "stem_convs": 1, "global_pool": "avg"},
    "gpvit_l4": {"embed_dim": 624, "stem_convs": 2, "global_pool": "avg"},
}


def build_block(block: Mapping[str, Any], **common: Any) -> nn.Module:
    """Build a block of a layout: of its ``kind``, a key of ``BLOCKS`` or a class, with its arguments and common ones.

    Of the common arguments a block gets those that it takes.
    """
    own = dict(block)
    kind = own.pop("kind", None)
    if not callable(kind) and kind not in BLOCKS:
        raise UserError(
            f"unknown kind of block {kind!r}; choose one of {', '.join(BLOCKS)}, or first import the module that "
            "registers it (gpvit.register_block)"
        )
    make = kind if callable(kind) else BLOCKS[kind]
    parameters = inspect.signature(make).parameters
    for name, value in own.items():
        if name in parameters and parameters[name].annotation is int and type(value) is not int:
            raise UserError(f"{name} of a block is {value}: give a whole number")
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return make(**{name: value for name, value in common.items() if takes_all or name in parameters}, **own)


def block_indices(indices: int | Sequence[int] | None, depth: int) -> list[int]:
    """Count blocks from the start: all if None, the last ``n`` if an int, negative ones from the end; as timm does."""
    chosen = range(depth) if indices is None else range(-indices, 0) if isinstance(indices, int) else indices
    taken = [i if i >= 0 else depth + i for i in chosen]
    if not taken or not all(0 <= i < depth for i in taken):
        raise UserError(f"indices must name some of {depth} blocks, from {-depth} to {depth - 1}; got {indices}")
    return taken
