"""The local block: attention inside narrow stripes, with a convolution as position encoding (paper Sec. 3.2).

Shape letters: B batch, H W token grid, C channels, S stripes, h w stripe height and width, d head width.
"""

import torch
import torch.nn.functional as F
from timm.layers import DropPath
from torch import nn

from gpvit.layers.depthwise import DepthwiseConv
from gpvit.layers.feed_forward import FeedForward
from gpvit.ops.windows import merge, partition


class StripeAttention(nn.Module):
    """LePE cross-shaped attention: half of the channels in vertical stripes, half in horizontal ones.

    Tokens attend within their stripe only. The locally enhanced position encoding (LePE), a depthwise 3x3
    convolution of the values inside the stripe, is added to what attention returns.

    Args:
        dim: Channels, ``C``; a multiple of ``num_heads``.
        num_heads: Number of heads, an even number: one half for each direction.
        stripe_width: Width of a stripe in tokens; divides ``H`` and ``W``.
    """

    def __init__(self, dim: int, num_heads: int, stripe_width: int = 2):
        super().__init__()
        if num_heads % 2 or dim % num_heads:
            raise ValueError(f"num_heads must be even and divide dim={dim}; got {num_heads}")
        self.num_heads = num_heads
        self.stripe_width = stripe_width
        self.qkv = nn.Linear(dim, 3 * dim)
        self.lepe = nn.ModuleList(DepthwiseConv(dim // 2, bias=True) for _ in range(2))
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Exchange information within stripes, ``(B, H, W, C)`` to ``(B, H, W, C)``."""
        _, H, W, C = x.shape
        qkv = self.qkv(x).unflatten(-1, (3, 2, C // 2))
        vertical = self._attend(qkv[..., 0, :], (H, self.stripe_width), self.lepe[0])
        horizontal = self._attend(qkv[..., 1, :], (self.stripe_width, W), self.lepe[1])
        return self.proj(torch.cat([vertical, horizontal], dim=-1))

    def _attend(self, qkv: torch.Tensor, stripe: tuple[int, int], lepe: nn.Module) -> torch.Tensor:
        """Attend in the stripes of one direction: ``(B, H, W, 3, C/2)`` to ``(B, H, W, C/2)``."""
        grid = (qkv.shape[1], qkv.shape[2])
        stripes = partition(qkv, stripe)  # (S, h, w, 3, C/2)
        tokens = stripes.flatten(1, 2).unflatten(-1, (self.num_heads // 2, -1))  # (S, h*w, 3, heads/2, d)
        query, key, value = tokens.permute(2, 0, 3, 1, 4)  # (S, heads/2, h*w, d) each
        # LePE is added after the softmax, so the fused kernel still applies.
        out = F.scaled_dot_product_attention(query, key, value)
        out = out.transpose(1, 2).reshape_as(stripes[..., 2, :])
        return merge(out + lepe(stripes[..., 2, :]), grid)


class LocalBlock(nn.Module):
    """Pre-norm stripe attention and MLP, both residual, then a depthwise convolution over the whole grid.

    code: the closing convolution has neither bias, norm, activation nor residual.

    Args:
        dim: Channels, ``C``.
        num_heads: Heads of the stripe attention, both directions together.
        stripe_width: Width of a stripe in tokens.
        mlp_ratio: Hidden width of the MLP over ``C``.
        drop_path: Probability of dropping a residual branch for a sample.
    """

    def __init__(
        self, dim: int, num_heads: int = 12, stripe_width: int = 2, mlp_ratio: float = 4.0, drop_path: float = 0.0
    ):
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.attn = StripeAttention(dim, num_heads, stripe_width)
        self.drop_path = DropPath(drop_path)
        self.mlp = FeedForward(dim, mlp_ratio, eps=1e-6, drop_path=drop_path)
        self.dwconv = DepthwiseConv(dim, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Update tokens ``(B, H, W, C)``."""
        x = x + self.drop_path(self.attn(self.norm(x)))
        return self.dwconv(self.mlp(x))
