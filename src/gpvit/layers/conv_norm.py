"""A convolution with the batch norm that follows it."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


class ConvNorm(nn.Module):
    """Convolution without bias and batch norm; in evaluation the norm is folded into the convolution's weights.

    Folding gives the same numbers up to rounding and saves a pass over the map.

    Args:
        in_chans: Channels that go in.
        out_chans: Channels that come out.
        **conv: More arguments of ``nn.Conv2d``.
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
    """Convolution without bias, batch norm and ReLU, as dense-prediction heads stack them.

    Args:
        in_chans: Channels that go in.
        out_chans: Channels that come out.
        kernel_size: Side of the kernel, odd; the map keeps its size.
    """

    def __init__(self, in_chans: int, out_chans: int, kernel_size: int):
        super().__init__(in_chans, out_chans, kernel_size=kernel_size, padding=kernel_size // 2)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve, normalise and rectify ``(B, in_chans, height, width)``."""
        return F.relu(super().forward(x), inplace=True)
