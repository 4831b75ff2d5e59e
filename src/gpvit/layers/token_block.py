"""What blocks that keep a token grid have in common: a way to exchange information, an MLP, a convolution."""

import torch
from timm.layers import DropPath
from torch import nn

from gpvit.layers.convolutions import DepthwiseConv
from gpvit.layers.feed_forward import FeedForward


class TokenBlock(nn.Module):
    """Pre-norm exchange and MLP, both residual, then a depthwise convolution over the whole grid.

    code: the closing convolution has neither bias, norm, activation nor residual.

    Args:
        dim: Channels, ``C``.
        attn: Exchanges information between tokens, ``(B, H, W, C)`` to ``(B, H, W, C)``; without it, tokens meet in the
            closing convolution only.
        mlp_ratio: Hidden width of the MLP over ``C``.
        drop_path: Probability of dropping a residual branch for a sample.
        dwconv: End with the depthwise convolution.
    """

    def __init__(
        self,
        dim: int,
        attn: nn.Module | None = None,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        dwconv: bool = True,
    ):
        super().__init__()
        if attn is not None:
            self.norm = nn.LayerNorm(dim, eps=1e-6)
            self.attn = attn
            self.drop_path = DropPath(drop_path)
        self.exchanges = attn is not None
        self.mlp = FeedForward(dim, mlp_ratio, eps=1e-6, drop_path=drop_path)
        self.dwconv = DepthwiseConv(dim, bias=False) if dwconv else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Update tokens ``(B, H, W, C)``."""
        if self.exchanges:
            x = x + self.drop_path(self.attn(self.norm(x)))
        return self.dwconv(self.mlp(x))
