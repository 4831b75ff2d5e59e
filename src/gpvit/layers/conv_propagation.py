"""Propagation by convolutions, as ViTDet exchanges information between windows (arXiv 2203.16527, Sec. 3)."""

import torch
import torch.nn.functional as F
from timm.layers import DropPath
from torch import nn


class ConvPropagationBlock(nn.Module):
    """Two 3x3 convolutions with norms, added to what came in; the second norm starts at zero, as ViTDet's.

    Args:
        dim: Channels, ``C``.
        drop_path: Probability of dropping the convolutions for a sample.
        mlp_ratio: Not used: the block has no MLP.
    """

    def __init__(self, dim: int, drop_path: float = 0.0, mlp_ratio: float = 4.0):
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, kernel_size=3, padding=1, bias=False)
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.conv2 = nn.Conv2d(dim, dim, kernel_size=3, padding=1, bias=False)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.drop_path = DropPath(drop_path)
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Update tokens ``(B, H, W, C)``."""
        y = F.gelu(self.norm1(_convolve(self.conv1, x)))
        return x + self.drop_path(self.norm2(_convolve(self.conv2, y)))


def _convolve(conv: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """Convolve a grid ``(B, H, W, C)``; the same memory, seen as channels-last, costs no copy."""
    return conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
