"""The local block: attention inside narrow stripes, with a convolution as position encoding (paper Sec. 3.2).

Shape letters: B batch, H W token grid, C channels, S stripes, h w stripe height and width, D channels of one
direction, d head width.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from gpvit.errors import UserError
from gpvit.layers.convolutions import depthwise, on_grid
from gpvit.layers.token_block import TokenBlock
from gpvit.ops.windows import merge, partition


class StripeAttention(nn.Module):
    """Attention among the tokens of a stripe, plus the locally enhanced position encoding (LePE).

    LePE is a depthwise 3x3 convolution of the values, zero-padded at the stripe's borders, added to what attention
    returns. Queries, keys, values and result have ``D`` channels.
    """

    def __init__(self, dim: int, out_dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * out_dim)
        self.lepe = depthwise(out_dim, bias=True)

    def forward(self, x: torch.Tensor, stripe: tuple[int, int]) -> torch.Tensor:
        """Attend within stripes of a size in tokens, ``(B, H, W, C)`` to ``(B, H, W, D)``."""
        grid = (x.shape[1], x.shape[2])
        # Stripes of one image may be a view that is not contiguous, of which a Linear makes many small products.
        qkv = self.qkv(partition(x, stripe).contiguous()).unflatten(-1, (3, -1))  # (S, h, w, 3, D)
        heads = qkv.flatten(1, 2).unflatten(-1, (self.num_heads, -1))  # (S, h*w, 3, heads, d)
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # (S, heads, h*w, d) each
        # LePE is added after the softmax, so the fused kernel still applies.
        out = F.scaled_dot_product_attention(query, key, value).transpose(1, 2)
        if torch.compiler.is_exporting():  # the memory that a kernel leaves is not that of another device's kernel
            out = out.clone(memory_format=torch.contiguous_format)
        return merge(on_grid(self.lepe, qkv[..., 2, :]).add_(out.flatten(2).unflatten(1, stripe)), grid)


class CrossShapedAttention(nn.Module):
    """Stripe attention in two directions at once: half of the heads vertically, half horizontally."""

    def __init__(self, dim: int, num_heads: int, stripe_width: int):
        super().__init__()
        if num_heads % 2 or dim % num_heads:
            raise UserError(f"num_heads must be even and divide dim={dim}; got {num_heads}")
        self.stripe_width = stripe_width
        self.vertical = StripeAttention(dim, dim // 2, num_heads // 2)
        self.horizontal = StripeAttention(dim, dim // 2, num_heads // 2)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Exchange information within stripes, ``(B, H, W, C)`` to ``(B, H, W, C)``."""
        _, H, W, _ = x.shape
        vertical = self.vertical(x, (H, self.stripe_width))
        horizontal = self.horizontal(x, (self.stripe_width, W))
        return self.proj(torch.cat([vertical, horizontal], dim=-1))


class LocalBlock(TokenBlock):
    """The paper's local block: stripe attention, MLP, depthwise convolution.

    Args:
        dim: Channels, ``C``.
        num_heads: Heads of the stripe attention, both directions together.
        stripe_width: Width of a stripe in tokens.
        **common: More arguments of :class:`~gpvit.layers.token_block.TokenBlock`.
    """

    def __init__(self, dim: int, num_heads: int = 12, stripe_width: int = 2, **common: Any):
        super().__init__(dim, CrossShapedAttention(dim, num_heads, stripe_width), **common)
