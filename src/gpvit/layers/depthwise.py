"""A depthwise convolution for tokens that lie channels-last."""

import torch
from torch import nn


class DepthwiseConv(nn.Conv2d):
    """3x3 convolution of each channel by itself, zero-padded to keep the grid, on ``(B, H, W, C)``.

    Args:
        dim: Channels, ``C``.
        bias: Whether to add a bias per channel.
    """

    def __init__(self, dim: int, bias: bool):
        super().__init__(dim, dim, kernel_size=3, padding=1, groups=dim, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve ``(B, H, W, C)``; the same memory, seen as channels-last, costs no copy."""
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
