"""Self-attention among all tokens of the grid, quadratic in their number: what group propagation replaces."""

import torch
from timm.layers import Attention
from torch import nn

from gpvit.errors import UserError
from gpvit.layers.token_block import TokenBlock


class GridAttention(nn.Module):
    """timm's multi-head self-attention, on a grid.

    Args:
        dim: Channels, ``C``.
        num_heads: Number of heads; divides ``C``.
    """

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        if dim % num_heads:
            raise UserError(f"num_heads must divide dim={dim}; got {num_heads}")
        self.attn = Attention(dim, num_heads, qkv_bias=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Exchange information among all tokens, ``(B, H, W, C)`` to ``(B, H, W, C)``."""
        return self.attn(x.flatten(1, 2)).view_as(x)


class GlobalBlock(TokenBlock):
    """A block with global self-attention (Table 7).

    Args:
        dim: Channels, ``C``.
        num_heads: Number of heads; divides ``C``.
        mlp_ratio: Hidden width of the MLP over ``C``.
        drop_path: Probability of dropping a residual branch for a sample.
        dwconv: End with the depthwise convolution.
    """

    def __init__(
        self, dim: int, num_heads: int = 12, mlp_ratio: float = 4.0, drop_path: float = 0.0, dwconv: bool = True
    ):
        super().__init__(dim, GridAttention(dim, num_heads), mlp_ratio, drop_path, dwconv)
