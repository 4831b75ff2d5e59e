"""The feature pyramid of both detectors (FPN, arXiv 1612.03144), each convolution followed by batch norm."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import nn
from torchvision.ops import Conv2dNormActivation, FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock


class NormedExtraLevels(ExtraFPNBlock):
    """Two more levels, each a strided convolution with batch norm of the one before; no activation between them.

    code: ``add_extra_convs="on_output"``.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.convs = nn.ModuleList(
            Conv2dNormActivation(channels, channels, stride=2, activation_layer=None) for _ in range(2)
        )

    def forward(
        self, results: list[torch.Tensor], x: list[torch.Tensor], names: list[str]
    ) -> tuple[list[torch.Tensor], list[str]]:
        """Append two maps to ``results`` and their names to ``names``."""
        for conv in self.convs:
            results.append(conv(results[-1]))
        return results, [*names, "p6", "p7"]


class PyramidBackbone(nn.Module):
    """A backbone of maps ``(B, C_i, h_i, w_i)``, finest first, and the pyramid on them, named as by torchvision."""

    def __init__(self, body: nn.Module, in_channels: Sequence[int], out_channels: int, extra: ExtraFPNBlock):
        super().__init__()
        self.body = body
        self.out_channels = out_channels
        self.fpn = FeaturePyramidNetwork(list(in_channels), out_channels, extra, norm_layer=nn.BatchNorm2d)
        for module in self.fpn.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute the maps ``(B, out_channels, h_i, w_i)`` of images ``(B, C, H, W)``."""
        return self.fpn(OrderedDict((str(i), feature) for i, feature in enumerate(self.body(images))))
