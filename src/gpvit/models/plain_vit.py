"""Plain vision transformers, GPViT and timm's, seen alike: tokens of a grid that a run of blocks updates.

Shape letters: B batch, H W token grid, N = H*W, K class and register tokens, C channels.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import torch
from timm.layers import Format, PatchEmbed
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.utils.checkpoint import checkpoint

from gpvit.errors import UserError
from gpvit.models.activation_checkpointing import checkpoint_block
from gpvit.models.backbone import GPViT
from gpvit.ops.resizing import resize_pos_embed


class Tokens(NamedTuple):
    """What goes from block to block."""

    patches: torch.Tensor
    """``(B, N, C)``."""
    grid: tuple[int, int]
    """``H`` and ``W``."""
    prefix: torch.Tensor | None = None
    """Class and register tokens, ``(B, K, C)``; None in a GPViT, which has neither."""
    rotation: torch.Tensor | None = None
    """Rotary position embedding of the patches, for each block one if the model mixes them."""


Plain = GPViT | VisionTransformer | Eva


def require_plain(backbone: nn.Module) -> Plain:
    """Return a backbone that the functions here know; refuse another, and one that only takes images of one size."""
    if isinstance(backbone, GPViT):
        return backbone
    if not isinstance(backbone, (VisionTransformer, Eva)) or not isinstance(backbone.patch_embed, PatchEmbed):
        raise UserError(
            "expected a GPViT, or a VisionTransformer or Eva of timm with a plain patch embedding (PatchEmbed), got "
            f"{_describe(backbone)}; a ViTAdapter needs one grid of tokens that all blocks keep"
        )
    height, width = backbone.patch_embed.patch_size
    if height != width:
        raise UserError(f"expected square patches, got {height}x{width} pixels")
    if not isinstance(backbone.patch_drop, (nn.Identity, type(None))):
        raise UserError("an adapter needs all patches; create the backbone without patch_drop_rate")
    if getattr(getattr(backbone, "rope", None), "feat_shape", None):
        raise UserError(
            "the backbone's rotary positions are made for one image size; create it with dynamic_img_size=True"
        )
    return backbone


def _describe(backbone: nn.Module) -> str:
    embedding = getattr(backbone, "patch_embed", None)
    return type(backbone).__name__ + (f" with {type(embedding).__name__}" if embedding is not None else "")


def patch_and_channels(backbone: Plain) -> tuple[int, int]:
    """Return the side of a patch in pixels, and the number of channels of an image."""
    if isinstance(backbone, GPViT):
        return backbone.stride, backbone.in_chans
    return backbone.patch_embed.patch_size[0], backbone.patch_embed.proj.in_channels


def take_over(backbone: Plain) -> None:
    """Remove the classifier and the final norm, and let timm's transformers accept any image size."""
    backbone.prune_intermediate_layers(prune_norm=True)
    if not isinstance(backbone, GPViT):
        # What timm's dynamic_img_size and dynamic_img_pad do when a model is created; final for TorchScript's sake.
        embedding = backbone.patch_embed
        backbone.dynamic_img_size = embedding.dynamic_img_pad = True  # type: ignore[misc]
        embedding.strict_img_size = embedding.flatten = False
        embedding.output_fmt = Format.NHWC


def embed(backbone: Plain, image: torch.Tensor) -> Tokens:
    """Make the tokens of images ``(B, in_chans, height, width)``, with their positions, for the first block."""
    if isinstance(backbone, GPViT):
        x = backbone.stem(image)
        grid = (x.shape[1], x.shape[2])
        return Tokens((x + resize_pos_embed(backbone.pos_embed, grid)).flatten(1, 2), grid)
    x = backbone.patch_embed(image)
    grid = (x.shape[1], x.shape[2])
    embedded = backbone._pos_embed(x)  # no public function does it; tested with timm 1.0.26 to 1.0.31
    x, rotation = embedded if isinstance(embedded, tuple) else (embedded, None)
    return _divide(backbone.norm_pre(x), Tokens(x, grid, rotation=rotation))


def run_blocks(backbone: Plain, indices: Iterable[int], tokens: Tokens, recomputing: bool = False) -> Tokens:
    """Run some blocks one after the other; recomputing keeps only their inputs for the backward pass."""
    if isinstance(backbone, GPViT):
        x = tokens.patches.unflatten(1, tokens.grid)
        for i in indices:
            x = checkpoint_block(backbone.blocks[i], x) if recomputing else backbone.blocks[i](x)
        return tokens._replace(patches=x.flatten(1, 2))
    assert tokens.prefix is not None
    x = torch.cat([tokens.prefix, tokens.patches], dim=1)
    for i in indices:
        block: Callable[..., torch.Tensor] = backbone.blocks[i]
        if tokens.rotation is not None:
            mixed = getattr(backbone, "rope_mixed", False)
            block = partial(block, rope=tokens.rotation[i] if mixed else tokens.rotation)
        x = checkpoint(block, x, use_reentrant=False) if recomputing else block(x)
    return _divide(x, tokens)


def _divide(x: torch.Tensor, tokens: Tokens) -> Tokens:
    patches = tokens.grid[0] * tokens.grid[1]
    prefix, x = x.split([x.shape[1] - patches, patches], dim=1)
    return tokens._replace(patches=x, prefix=prefix)
