"""Convolutions: with the batch norm that follows them, and for tokens that lie channels-last."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


class ConvNorm(nn.Module):
    """Convolution without bias and batch norm; in evaluation the norm is folded into the convolution's weights.

    Folding gives the same numbers up to rounding and saves a pass over the map. `conv` are arguments of ``nn.Conv2d``.
    """

    def __init__(self, in_chans: int, out_chans: int, **conv: Any):
        super().__init__()
        self.conv = nn.Conv2d(in_chans, out_chans, bias=False, **conv)
        self.norm = nn.BatchNorm2d(out_chans)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve and normalise ``(B, in_chans, height, width)``."""
        conv, norm = self.conv, self.norm
        if norm.training:
            return norm(conv(x))
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        shift = norm.bias - norm.running_mean * scale
        weight = conv.weight * scale.view(-1, 1, 1, 1)
        return F.conv2d(x, weight, shift, conv.stride, conv.padding, conv.dilation, conv.groups)


class ConvNormReLU(ConvNorm):
    """Convolution of odd kernel size, batch norm and ReLU, as dense-prediction heads stack them."""

    def __init__(self, in_chans: int, out_chans: int, kernel_size: int):
        super().__init__(in_chans, out_chans, kernel_size=kernel_size, padding=kernel_size // 2)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve, normalise and rectify ``(B, in_chans, height, width)``."""
        return F.relu(super().forward(x), inplace=True)


class GridConv(nn.Conv2d):
    """Convolution of tokens ``(B, H, W, C)``; the same memory, seen as channels-last, costs no copy."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve ``(B, H, W, C)``."""
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class DepthwiseConv(GridConv):
    """3x3 convolution of each of ``C`` channels by itself, zero-padded to keep the grid, on ``(B, H, W, C)``."""

    def __init__(self, dim: int, bias: bool):
        super().__init__(dim, dim, kernel_size=3, padding=1, groups=dim, bias=bias)
