"""Heads that turn feature maps of any strides into class logits: UPerNet, SegFormer, FCN.

Shape letters: B batch, K classes, C_i h_i w_i channels and size of feature i; feature 0 is the finest.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from gpvit.layers.convolutions import ConvNormReLU
from gpvit.ops.resizing import average_cells


class UPerNetHead(nn.Module):
    """UPerNet: pyramid pooling of the last feature, then a feature pyramid from it down to the first.

    Source: Xiao et al., "Unified Perceptual Parsing for Scene Understanding" (ECCV 2018).

    Args:
        in_chans: Channels of each feature, the finest first.
        num_classes: Number of classes, ``K``.
        channels: Channels inside the head.
        pool_scales: Sides of the grids that the last feature is pooled to.
        drop_rate: Dropout of whole channels before the classifier.

    Example:
        >>> features = [torch.rand(2, 64, 32, 32), torch.rand(2, 128, 16, 16)]
        >>> UPerNetHead([64, 128], num_classes=19)(features).shape
        torch.Size([2, 19, 32, 32])
    """

    def __init__(
        self,
        in_chans: Sequence[int],
        num_classes: int,
        channels: int = 512,
        pool_scales: Sequence[int] = (1, 2, 3, 6),
        drop_rate: float = 0.1,
    ):
        super().__init__()
        *finer, last = in_chans
        self.pool_scales = tuple(pool_scales)
        self.pooled = nn.ModuleList(ConvNormReLU(last, channels, 1) for _ in pool_scales)
        self.bottleneck = ConvNormReLU(last + len(pool_scales) * channels, channels, 3)
        self.laterals = nn.ModuleList(ConvNormReLU(chans, channels, 1) for chans in finer)
        self.smooth = nn.ModuleList(ConvNormReLU(channels, channels, 3) for _ in finer)
        self.merge = ConvNormReLU(len(in_chans) * channels, channels, 3)
        self.drop = nn.Dropout2d(drop_rate)
        self.classifier = _classifier(channels, num_classes)

    def forward(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Classify features ``(B, C_i, h_i, w_i)``: logits ``(B, K, h_0, w_0)``."""
        *finer, last = features
        x = self.bottleneck(torch.cat([last, *self._pool(last)], dim=1))
        levels = [lateral(feature) for lateral, feature in zip(self.laterals, finer, strict=True)]
        levels.append(x)
        for i in reversed(range(len(finer))):
            levels[i] = levels[i] + resize_to(levels[i + 1], levels[i])
        levels = [*(smooth(level) for smooth, level in zip(self.smooth, levels, strict=False)), x]
        x = self.merge(torch.cat([resize_to(level, levels[0]) for level in levels], dim=1))
        return self.classifier(self.drop(x))

    def _pool(self, x: torch.Tensor) -> list[torch.Tensor]:
        pooled = (average_cells(x, scale) for scale in self.pool_scales)
        return [resize_to(conv(each), x) for conv, each in zip(self.pooled, pooled, strict=True)]


class SegFormerHead(nn.Module):
    """SegFormer's decoder: every feature projected, all resized to the first's size and fused.

    Source: Xie et al., "SegFormer" (NeurIPS 2021).

    Args:
        in_chans: Channels of each feature, the finest first.
        num_classes: Number of classes, ``K``.
        channels: Channels inside the head.
        drop_rate: Dropout of whole channels before the classifier.
    """

    def __init__(self, in_chans: Sequence[int], num_classes: int, channels: int = 256, drop_rate: float = 0.1):
        super().__init__()
        self.project = nn.ModuleList(ConvNormReLU(chans, channels, 1) for chans in in_chans)
        self.merge = ConvNormReLU(len(in_chans) * channels, channels, 1)
        self.drop = nn.Dropout2d(drop_rate)
        self.classifier = _classifier(channels, num_classes)

    def forward(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Classify features ``(B, C_i, h_i, w_i)``: logits ``(B, K, h_0, w_0)``."""
        levels = [project(feature) for project, feature in zip(self.project, features, strict=True)]
        x = self.merge(torch.cat([resize_to(level, levels[0]) for level in levels], dim=1))
        return self.classifier(self.drop(x))


class FCNHead(nn.Module):
    """One convolution and a classifier on one feature: the auxiliary head of UPerNet.

    Source: Long et al., "Fully Convolutional Networks for Semantic Segmentation" (CVPR 2015).
    """

    def __init__(self, in_chans: int, num_classes: int, channels: int = 256, drop_rate: float = 0.1):
        super().__init__()
        self.conv = ConvNormReLU(in_chans, channels, 3)
        self.drop = nn.Dropout2d(drop_rate)
        self.classifier = _classifier(channels, num_classes)

    def forward(self, feature: torch.Tensor) -> torch.Tensor:
        """Classify a feature ``(B, C, h, w)``: logits ``(B, K, h, w)``."""
        return self.classifier(self.drop(self.conv(feature)))


def resize_to(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Resize maps ``(B, C, h, w)`` to the size of others, bilinear with corners not aligned."""
    if x.shape[2:] == like.shape[2:]:
        return x
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


def _classifier(channels: int, num_classes: int) -> nn.Conv2d:
    layer = nn.Conv2d(channels, num_classes, 1)
    nn.init.normal_(layer.weight, std=0.01)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
