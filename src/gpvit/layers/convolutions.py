"""Convolutions: with the batch norm that follows them, and for tokens that lie channels-last."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


class ConvNorm(nn.Module):
    """Convolution without bias and batch norm. `conv` are arguments of ``nn.Conv2d``."""

    def __init__(self, in_chans: int, out_chans: int, **conv: Any):
        super().__init__()
        self.conv = nn.Conv2d(in_chans, out_chans, bias=False, **conv)
        self.norm = nn.BatchNorm2d(out_chans)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve and normalise ``(B, in_chans, height, width)``."""
        return self.norm(self.conv(x))


class ConvNormReLU(ConvNorm):
    """Convolution of odd kernel size, batch norm and ReLU, as dense-prediction heads stack them."""

    def __init__(self, in_chans: int, out_chans: int, kernel_size: int):
        super().__init__(in_chans, out_chans, kernel_size=kernel_size, padding=kernel_size // 2)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve, normalise and rectify ``(B, in_chans, height, width)``."""
        return F.relu(super().forward(x), inplace=True)


def depthwise(dim: int, bias: bool) -> nn.Conv2d:
    """Make a 3x3 convolution of each of ``C`` channels by itself, zero-padded to keep the grid."""
    return nn.Conv2d(dim, dim, kernel_size=3, padding=1, groups=dim, bias=bias)


def on_grid(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Apply a layer for maps to tokens ``(B, H, W, C)``: the same memory, seen as channels-last, costs no copy."""
    return layer(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def channels_last(images: torch.Tensor) -> torch.Tensor:
    """Lay images ``(B, C, H, W)`` out channels-last, where convolutions are faster and leave tokens in order."""
    # An exported graph has layouts of its own, and an example of one image would fix the batch to be one.
    return images if torch.compiler.is_exporting() else images.contiguous(memory_format=torch.channels_last)
