"""Random erasing as in the authors' ImageNet training: noise in the image's own colours, on 8-bit pixels."""

import math
from collections.abc import Sequence

import torch
from torch import nn


class RandomErasing(nn.Module):
    """Overwrites, at random, a rectangle of an image with noise (Zhong et al. 2017).

    Each value is drawn from the normal distribution of its channel over all images and cut to 0..255. timm erases after
    the normalisation instead, where the noise is not cut.

    Args:
        probability: Of erasing at all.
        mean: Mean of each channel, in [0, 1].
        std: Standard deviation of each channel.
        area: Smallest and largest part of the image's area; a side is at most the image's.
        ratio: Smallest and largest height over width; its logarithm is uniform.
    """

    def __init__(
        self,
        probability: float,
        mean: Sequence[float],
        std: Sequence[float],
        area: tuple[float, float] = (0.02, 1 / 3),
        ratio: tuple[float, float] = (0.3, 1 / 0.3),
    ) -> None:
        super().__init__()
        self.probability, self.area, self.ratio = probability, area, ratio
        self.mean, self.std = (255 * torch.tensor(values).view(-1, 1, 1) for values in (mean, std))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Erase, or not, from an image `(C, H, W)` of uint8; the image itself is left as it is."""
        if torch.rand(()) >= self.probability:
            return image
        channels, height, width = image.shape
        area = height * width * _between(*self.area)
        ratio = math.exp(_between(*map(math.log, self.ratio)))
        erased_height = min(round(math.sqrt(area * ratio)), height)
        erased_width = min(round(math.sqrt(area / ratio)), width)
        top = int(torch.randint(height - erased_height + 1, ()))
        left = int(torch.randint(width - erased_width + 1, ()))
        noise = self.mean + self.std * torch.randn(channels, erased_height, erased_width)
        image = image.clone()
        image[:, top : top + erased_height, left : left + erased_width] = noise.clamp(0, 255).to(torch.uint8)
        return image


def _between(low: float, high: float) -> float:
    return low + (high - low) * torch.rand(()).item()
