"""The convolutional stem: an image becomes a grid of tokens, at 1/8 of its size in the paper's networks."""

import torch
import torch.nn.functional as F
from torch import nn

from gpvit.layers.convolutions import ConvNorm, channels_last
from gpvit.ops.tracing import is_for_any_size


class ConvStem(nn.Module):
    """7x7 stride-2 convolution, optional 3x3 convolutions, and a 4x4 stride-4 projection (Appendix, Table 1).

    The half-resolution map is zero-padded at the bottom and the right until the token grid is a multiple of
    ``grid_multiple``. On every size that the authors' code accepts, this is their padding.

    `num_convs` is the number of extra convolutions at half resolution (0, 1, 1, 2 for L1-L4), `width` the channels
    there, and `stride` the pixels of a token's side: the projection's kernel measures half of it.
    """

    def __init__(
        self,
        in_chans: int,
        embed_dim: int,
        num_convs: int = 0,
        width: int = 64,
        grid_multiple: int = 2,
        stride: int = 8,
    ):
        super().__init__()
        self.first = ConvNorm(in_chans, width, kernel_size=7, stride=2, padding=3)
        self.extra = nn.ModuleList(ConvNorm(width, width, kernel_size=3, padding=1) for _ in range(num_convs))
        self.proj = nn.Conv2d(width, embed_dim, kernel_size=stride // 2, stride=stride // 2)
        self.map_multiple = stride // 2 * grid_multiple

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Turn ``(B, in_chans, height, width)`` into tokens ``(B, H, W, C)``."""
        height, width = x.shape[-2:]
        x = F.relu(self.first(channels_last(x)), inplace=True)
        for conv in self.extra:
            x = F.relu(conv(x), inplace=True)
        # Written from the image's sides: then an exporter finds the padded sides to be simple, and tells so in seconds.
        pad_h = self._padded(height) - x.shape[-2]
        pad_w = self._padded(width) - x.shape[-1]
        if is_for_any_size(x) or pad_h or pad_w:  # an exported graph must serve every size
            x = F.pad(x, (0, pad_w, 0, pad_h))
        return self.proj(x).permute(0, 2, 3, 1)

    def _padded(self, pixels: int) -> int:
        """Side of the padded half-resolution map for a side of the image."""
        step = 2 * self.map_multiple
        return (pixels + step - 1) // step * self.map_multiple
