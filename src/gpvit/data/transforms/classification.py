"""Preprocessing of classification, equal to timm's, and the augmentation of ImageNet training."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from PIL import Image
from timm.data import create_transform
from timm.data.auto_augment import RandAugment
from timm.data.auto_augment import posterize as timm_posterize
from torch import nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from gpvit.data.transforms.preprocessing import InputSpec, Transform
from gpvit.errors import UserError

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]

_RAND_AUGMENT = re.compile(r"rand(-(m\d+|n\d+|p[\d.]+|mstd[\d.]+|mmax\d+|inc[01]|t[a-z0-9]+))*")


@dataclass(frozen=True)
class Preprocessing(InputSpec):
    """How an image becomes the network's input; it travels with the weights.

    Args:
        input_size: Channels, height and width of the input; 1 channel means grayscale.
        mean: Mean that is subtracted from values in [0, 1], per channel.
        std: Standard deviation that they are then divided by, per channel.
        interpolation: Filter of the resize; on PIL images each one antialiases, but for "nearest".
        crop_pct: The part of the resized image's side that the centre crop keeps, in (0, 1].

    Example:
        >>> Preprocessing().transform()(Image.new("RGB", (500, 333))).shape
        torch.Size([3, 224, 224])
    """

    interpolation: Interpolation = "bicubic"
    crop_pct: float = 0.875

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.interpolation not in get_args(Interpolation):
            raise UserError(f"interpolation {self.interpolation!r}: choose one of {get_args(Interpolation)}")
        if not 0 < self.crop_pct <= 1:
            raise UserError(f"crop_pct {self.crop_pct}: give the part of the side that is kept, above 0 and at most 1")

    def transform(self) -> Transform:
        """Build the evaluation transform, timm's: PIL image in, normalised float tensor `input_size` out.

        The image is resized, keeping its shape, until it just covers `size / crop_pct`; then the centre is cut out.
        """
        options: dict[str, Any] = {"interpolation": self.interpolation, "crop_pct": self.crop_pct}
        options |= {"mean": self.mean, "std": self.std}
        return v2.Compose([_channels(self), *create_transform(self.input_size, **options).transforms])


@dataclass(frozen=True)
class Augmentation:
    """Training augmentation in the style of ImageNet; the defaults are those of GPViT's released training.

    Args:
        crop_scale: Smallest and largest part of the image's area that a random crop takes.
        crop_ratio: Smallest and largest width over height of that crop.
        horizontal_flip: Probability of a mirror image.
        color_jitter: Strength of random brightness, contrast and saturation; needs `rand_augment` to be None.
        rand_augment: timm's RandAugment string: magnitude m of 10, n operations, each with probability p (0.5 unless
            said), mstd noise on the magnitude, inc1 operations that grow with it; None for none.
        erase_probability: Probability that a random rectangle, of 2 to 33 % of the area, becomes noise.
    """

    crop_scale: tuple[float, float] = (0.08, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    horizontal_flip: float = 0.5
    color_jitter: float = 0.0
    rand_augment: str | None = "rand-m9-n2-mstd0.5-inc1"
    erase_probability: float = 0.25

    def __post_init__(self) -> None:
        for name in ("crop_scale", "crop_ratio"):
            low, high = getattr(self, name)
            object.__setattr__(self, name, (low, high))
            if not 0 < low <= high or (name == "crop_scale" and high > 1):
                raise UserError(f"{name} {low, high}: give a lowest and a highest value above 0, in this order")
        for name in ("horizontal_flip", "erase_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} {getattr(self, name)}: give a probability from 0 to 1")
        # timm skips sections it does not know, and drops the jitter beside RandAugment, both without a word
        if self.rand_augment is not None and not _RAND_AUGMENT.fullmatch(self.rand_augment):
            raise UserError(f"rand_augment {self.rand_augment!r}: write it like 'rand-m9-n2-mstd0.5-inc1', or None")
        if self.rand_augment and self.color_jitter:
            raise UserError("rand_augment and color_jitter exclude each other: set rand_augment to None for the jitter")


IMAGENET = Preprocessing()
IMAGENET_AUGMENTATION = Augmentation()


def training_transform(preprocessing: Preprocessing, augmentation: Augmentation = IMAGENET_AUGMENTATION) -> Transform:
    """Build the random transform of training: PIL image in, normalised float tensor `input_size` out.

    In the order of the authors' training: random crop, mirror, RandAugment or colour jitter, erasing, normalisation.
    What moves pixels uses the filter of `preprocessing`, and fills borders with its mean.

    Args:
        preprocessing: Size, mean, std and interpolation; `crop_pct` plays no part, the crop is random.
        augmentation: What is varied, and how far.
    """
    crop, colour, _ = create_transform(
        input_size=preprocessing.input_size,
        is_training=True,
        scale=augmentation.crop_scale,
        ratio=augmentation.crop_ratio,
        hflip=augmentation.horizontal_flip,
        color_jitter=augmentation.color_jitter,
        auto_augment=augmentation.rand_augment,
        interpolation=preprocessing.interpolation,
        mean=preprocessing.mean,
        separate=True,
    )
    for operation in (op for step in colour.transforms if isinstance(step, RandAugment) for op in step.ops):
        if operation.aug_fn is timm_posterize:
            operation.aug_fn = _posterize
    return v2.Compose(
        [
            _channels(preprocessing),
            crop,
            colour,
            v2.PILToTensor(),
            RandomErasing(augmentation.erase_probability, preprocessing.mean, preprocessing.std),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(preprocessing.mean, preprocessing.std),
        ]
    )


class RandomErasing(nn.Module):
    """Overwrites, at random, a rectangle of an image with noise (Zhong et al. 2017), as the authors' training does.

    code: each value is drawn from the normal distribution of its channel, with `mean` and `std`, and cut to 0..255;
    timm erases after the normalisation, where the noise is not cut. `area` is a part of the image's, `ratio` the height
    over the width, of uniform logarithm.
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
        channels, *size = image.shape
        area = math.prod(size) * _uniform(*self.area)
        ratio = math.exp(_uniform(*map(math.log, self.ratio)))
        height, width = min(round(math.sqrt(area * ratio)), size[0]), min(round(math.sqrt(area / ratio)), size[1])
        top, left = int(torch.randint(size[0] - height + 1, ())), int(torch.randint(size[1] - width + 1, ()))
        noise = self.mean + self.std * torch.randn(channels, height, width)
        return F.erase(image, top, left, height, width, noise.clamp(0, 255).to(torch.uint8))


def _channels(preprocessing: Preprocessing) -> v2.Transform:
    return v2.Grayscale(1) if preprocessing.input_size[0] == 1 else v2.RGB()


def _posterize(image: Image.Image, bits_to_keep: int, **_: Any) -> Image.Image:
    """Posterize as timm means it: at its full strength no bit is kept, which Pillow refuses from version 13 on."""
    return timm_posterize(image, bits_to_keep) if bits_to_keep > 0 else Image.new(image.mode, image.size)


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * torch.rand(()).item()
