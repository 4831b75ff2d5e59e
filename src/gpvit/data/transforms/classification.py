"""What happens to a picture before a network sees it: one rule for evaluation, one augmentation for training."""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

import torch
from PIL import Image
from timm.data import create_transform
from timm.data.auto_augment import AugmentOp, RandAugment
from timm.data.auto_augment import posterize as timm_posterize
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.data.transforms import ResizeKeepRatio
from torchvision.transforms import InterpolationMode, v2

from gpvit.data.transforms.erasing import RandomErasing
from gpvit.errors import UserError

Transform = Callable[[Image.Image], torch.Tensor]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]

_RAND_AUGMENT = re.compile(r"rand(-(m\d+|n\d+|p[\d.]+|mstd[\d.]+|mmax\d+|inc[01]|t[a-z0-9]+))*")


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes the network's input; it travels with the weights.

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

    input_size: tuple[int, int, int] = (3, 224, 224)
    mean: tuple[float, ...] = IMAGENET_DEFAULT_MEAN
    std: tuple[float, ...] = IMAGENET_DEFAULT_STD
    interpolation: Interpolation = "bicubic"
    crop_pct: float = 0.875

    def __post_init__(self) -> None:
        for name in ("input_size", "mean", "std"):  # lists from JSON and YAML
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if len(self.input_size) != 3 or self.input_size[0] not in (1, 3) or min(self.input_size) < 1:
            raise UserError(f"input_size {self.input_size}: give (channels, height, width) with 1 or 3 channels")
        if not len(self.mean) == len(self.std) == self.input_size[0] or min(self.std) <= 0:
            raise UserError(
                f"mean {self.mean} and std {self.std}: give one value per channel of input_size {self.input_size}, "
                "std above 0"
            )
        if self.interpolation not in get_args(Interpolation):
            raise UserError(f"interpolation {self.interpolation!r}: choose one of {get_args(Interpolation)}")
        if not 0 < self.crop_pct <= 1:
            raise UserError(f"crop_pct {self.crop_pct}: give the part of the side that is kept, above 0 and at most 1")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """Restore what `to_dict` gave, also after a trip through JSON."""
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(values) - set(known)):
            raise UserError(f"unknown preprocessing keys {unknown}; known keys: {known}")
        return cls(**values)

    @classmethod
    def from_pretrained_cfg(cls, pretrained_cfg: Mapping[str, Any], in_chans: int | None = None) -> "Preprocessing":
        """Take the preprocessing out of a timm `pretrained_cfg`; keys it lacks keep timm's defaults.

        Args:
            pretrained_cfg: The configuration of a model.
            in_chans: Channels that the model takes, if known. A model of one takes gray pictures, also where its
                configuration still describes colour.

        Raises:
            ValueError: If the model takes neither gray nor colour pictures, or crops otherwise than in the centre.
        """
        if (crop_mode := pretrained_cfg.get("crop_mode") or "center") != "center":
            raise UserError(f"crop_mode {crop_mode!r} of pretrained_cfg: only 'center' is supported")
        names = (field.name for field in fields(cls))
        described = cls(**{name: pretrained_cfg[name] for name in names if pretrained_cfg.get(name) is not None})
        channels, height, width = described.input_size
        if in_chans in (None, channels):
            return described
        if in_chans != 1:
            raise UserError(
                f"the model takes images of {in_chans} channels, its pretrained_cfg describes {channels}; pictures "
                "have 3, or 1 in gray: call the model itself with tensors"
            )
        mean, std = (sum(values) / channels for values in (described.mean, described.std))
        return replace(described, input_size=(1, height, width), mean=(mean,), std=(std,))

    def to_dict(self) -> dict[str, Any]:
        """Give the fields as plain data, under the names that timm's `pretrained_cfg` uses."""
        return asdict(self)

    def transform(self) -> Transform:
        """Build the evaluation transform: PIL image in, normalised float tensor `input_size` out.

        The image is resized, keeping its shape, until it just covers `size / crop_pct`; then the centre is cut out.
        """
        channels, *size = self.input_size
        height, width = (round(side / self.crop_pct) for side in size)
        resize = (
            v2.Resize(height, InterpolationMode(self.interpolation))
            if height == width
            else ResizeKeepRatio((height, width), interpolation=self.interpolation)
        )
        return v2.Compose(
            [
                v2.Grayscale(channels) if channels == 1 else v2.RGB(),
                resize,
                v2.CenterCrop(size),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(self.mean, self.std),
                v2.ToPureTensor(),
            ]
        )


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
    for step in colour.transforms:
        if isinstance(step, RandAugment):
            _mend_posterize(step.ops)
    return v2.Compose(
        [
            v2.Grayscale(1) if preprocessing.input_size[0] == 1 else v2.RGB(),
            crop,
            colour,
            v2.PILToTensor(),
            RandomErasing(augmentation.erase_probability, preprocessing.mean, preprocessing.std),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(preprocessing.mean, preprocessing.std),
        ]
    )


def _mend_posterize(operations: list[AugmentOp]) -> None:
    for operation in operations:
        if operation.aug_fn is timm_posterize:
            operation.aug_fn = _posterize


def _posterize(image: Image.Image, bits_to_keep: int, **_: Any) -> Image.Image:
    """Posterize as timm means it: at its full strength no bit is kept, which Pillow refuses from version 13 on."""
    return timm_posterize(image, bits_to_keep) if bits_to_keep > 0 else Image.new(image.mode, image.size)
