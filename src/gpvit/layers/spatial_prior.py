"""The convolutional side branch of the ViT-Adapter: maps of several scales straight from the image."""

import torch
import torch.nn.functional as F
from torch import nn

from gpvit.layers.convolutions import ConvNorm, channels_last

STRIDES = (4, 8, 16, 32)


class SpatialPrior(nn.Module):
    """Spatial prior module (ViT-Adapter, 2205.08534, Sec. 3.3): a small ResNet-like stem, projected to ``C`` channels.

    It returns the maps of some of the strides 4, 8, 16 and 32, the last three at least; `width` is that at stride 4.
    """

    def __init__(self, in_chans: int, dim: int, strides: tuple[int, ...] = STRIDES, width: int = 64):
        super().__init__()
        widths = dict(zip(STRIDES, (width, 2 * width, 4 * width, 4 * width), strict=True))
        self.stem = nn.ModuleList(
            ConvNorm(chans, width, kernel_size=3, stride=stride, padding=1)
            for chans, stride in ((in_chans, 2), (width, 1), (width, 1))
        )
        self.down = nn.ModuleDict(
            {
                str(stride): ConvNorm(widths[stride // 2], widths[stride], kernel_size=3, stride=2, padding=1)
                for stride in STRIDES[1:]
            }
        )
        self.proj = nn.ModuleDict({str(stride): nn.Conv2d(widths[stride], dim, kernel_size=1) for stride in strides})

    def forward(self, x: torch.Tensor) -> dict[int, torch.Tensor]:
        """Turn an image ``(B, in_chans, height, width)`` into a map ``(B, C, h, w)`` for each stride."""
        x = channels_last(x)
        for conv in self.stem:
            x = F.relu(conv(x), inplace=True)
        x = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
        maps = {}
        for stride in STRIDES:
            name = str(stride)
            if name in self.down:
                x = F.relu(self.down[name](x), inplace=True)
            if name in self.proj:
                maps[stride] = self.proj[name](x)
        return maps
