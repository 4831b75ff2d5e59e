"""Which blocks a GPViT is made of: the kinds there are, the paper's sequence of them, and the sizes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from gpvit.errors import UserError
from gpvit.layers.compared_blocks import ConvPropagationBlock, GlobalBlock, WindowBlock
from gpvit.layers.group_propagation import GroupPropagationBlock
from gpvit.layers.local_attention import LocalBlock
from gpvit.layers.token_block import TokenBlock

Layout = Sequence[Mapping[str, Any]]

BLOCKS: dict[str, Callable[..., nn.Module]] = {
    "local": LocalBlock,
    "group": GroupPropagationBlock,
    # What the paper compares them with.
    "window": WindowBlock,
    "global": GlobalBlock,
    "conv": ConvPropagationBlock,
    "isolated": TokenBlock,
}
"""The kinds of block that a layout can name; each maps ``(B, H, W, C)`` to ``(B, H, W, C)``."""


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
    """Build a block of a layout: of its ``kind``, a key of ``BLOCKS``, with its arguments and those that all get."""
    arguments = {**common, **block}
    kind = arguments.pop("kind", None)
    if kind not in BLOCKS:
        raise UserError(f"unknown kind of block {kind!r}; choose one of {', '.join(BLOCKS)}")
    return BLOCKS[kind](**arguments)


def block_indices(indices: int | Sequence[int] | None, depth: int) -> list[int]:
    """Count blocks from the start: all if None, the last ``n`` if an int, negative ones from the end; as timm does."""
    chosen = range(depth) if indices is None else range(-indices, 0) if isinstance(indices, int) else indices
    taken = [i if i >= 0 else depth + i for i in chosen]
    if not taken or not all(0 <= i < depth for i in taken):
        raise UserError(f"indices must name some of {depth} blocks, from {-depth} to {depth - 1}; got {indices}")
    return taken
