"""Preprocessing and training augmentation of segmentation: images are fitted as a whole, not cropped."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from gpvit.data.segmentation.masks import IGNORE
from gpvit.data.transforms.preprocessing import InputSpec, Transform
from gpvit.errors import UserError
from gpvit.runtime.resizing import fitted_size, rounded_up

_CROP_TRIES = 10


@dataclass(frozen=True)
class SegmentationPreprocessing(InputSpec):
    """How an image becomes a segmentation network's input; it travels with the weights.

    An image is first resized to fit `max_size`, keeping its shape; then each side is stretched, not padded, up to a
    multiple of `size_divisor` (code: both bilinear without antialias, on 8-bit values, as mmcv resizes).

    Args:
        input_size: Channels, height and width of the crops that training takes; 1 channel means grayscale.
        mean: Mean that is subtracted from values in [0, 1], per channel.
        std: Standard deviation that they are then divided by, per channel.
        max_size: Largest long side and largest short side, in pixels, one of which the fitted image reaches; None
            keeps an image's own size.
        size_divisor: The sides of the network's input are multiples of it.

    Example:
        >>> SegmentationPreprocessing().transform()(Image.new("RGB", (500, 333))).shape
        torch.Size([3, 512, 800])
    """

    input_size: tuple[int, int, int] = (3, 512, 512)
    max_size: tuple[int, int] | None = (2048, 512)
    size_divisor: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_size is not None and (len(self.max_size) != 2 or not self.max_size[0] >= self.max_size[1] > 0):
            raise UserError(f"max_size {self.max_size}: give (long side, short side) in pixels, or None")
        if self.size_divisor < 1:
            raise UserError(f"size_divisor {self.size_divisor}: give 1 or more; published results use 32")

    def kept_shape(self, size: tuple[int, int], scale: float = 1.0) -> tuple[int, int]:
        """Say what `size` (height, width) becomes once it fits `max_size`, or else itself, times `scale`."""
        return fitted_size(size, self.max_size, scale)

    def fitted(self, size: tuple[int, int], scale: float = 1.0) -> tuple[int, int]:
        """Say what size the network sees an image of `size` (height, width) in: multiples of `size_divisor`."""
        return rounded_up(self.kept_shape(size, scale), self.size_divisor)

    def transform(self, scale: float = 1.0) -> Transform:
        """Build the evaluation transform: PIL image in, normalised float tensor `(C, *fitted(size, scale))` out."""
        if scale <= 0:
            raise UserError(f"scale {scale}: give a factor above 0, as 1.0 for the fitted size itself")
        return partial(self._transform, scale=scale)

    def _transform(self, image: Image.Image, scale: float) -> torch.Tensor:
        size = (image.height, image.width)
        pixels = _resize(_pixels(image, self), self.kept_shape(size, scale))
        return _normalized(_resize(pixels, self.fitted(size, scale)), self)


@dataclass(frozen=True)
class SegmentationAugmentation:
    """Training augmentation; the defaults are those of GPViT's released training (code: mmseg's of ADE20K).

    Args:
        scale: Smallest and largest factor on the size that the preprocessing fits an image to.
        max_class_share: A random crop is drawn again, up to ten times, while one class fills this part of its
            counted pixels or more; 1 takes the first crop.
        horizontal_flip: Probability of a mirror image.
        photometric: Whether brightness, contrast, saturation and hue change at random, each with probability 0.5.
            Unlike mmseg's, brightness is multiplied and not added (by up to 32/255 either way), and contrast and
            saturation blend with gray instead of scaling values; the ranges are the same.
    """

    scale: tuple[float, float] = (0.5, 2.0)
    max_class_share: float = 0.75
    horizontal_flip: float = 0.5
    photometric: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", tuple(self.scale))  # a list from YAML
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1]:
            raise UserError(f"scale {self.scale}: give a lowest and a highest factor above 0, in this order")
        if not 0 <= self.horizontal_flip <= 1:
            raise UserError(f"horizontal_flip {self.horizontal_flip}: give a probability from 0 to 1")
        if not 0 < self.max_class_share <= 1:
            raise UserError(f"max_class_share {self.max_class_share}: give a part above 0 and at most 1")


STANDARD = SegmentationPreprocessing()
STANDARD_AUGMENTATION = SegmentationAugmentation()


class PhotometricDistort(v2.RandomPhotometricDistort):
    """Random brightness, contrast, saturation and hue, without torchvision's swap of channels: no sky turns red."""

    def __init__(self) -> None:
        super().__init__(
            brightness=(1 - 32 / 255, 1 + 32 / 255),
            contrast=(0.5, 1.5),
            saturation=(0.5, 1.5),
            hue=(-0.1, 0.1),  # code: 18 of the 180 steps in which OpenCV goes round the circle
        )

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Choose the amounts."""
        return {**super().make_params(flat_inputs), "channel_permutation": None}


_DISTORT = PhotometricDistort()


def training_transform(
    preprocessing: SegmentationPreprocessing, augmentation: SegmentationAugmentation = STANDARD_AUGMENTATION
) -> Callable[[Image.Image, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """Build the random transform of training: an image and its mask `(H, W)` are fitted, cropped and mirrored alike.

    It gives a normalised float tensor `(C, h, w)` and an int64 tensor `(h, w)`, of the crop's size. A smaller image is
    padded at the right and below: the normalised image by 0, the mask by 255.
    """
    return partial(_vary, preprocessing, augmentation)


def _vary(
    preprocessing: SegmentationPreprocessing,
    augmentation: SegmentationAugmentation,
    image: Image.Image,
    mask: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    _, crop_height, crop_width = preprocessing.input_size
    factor = float(torch.empty(1).uniform_(*augmentation.scale))
    size = preprocessing.kept_shape((image.height, image.width), factor)
    pixels, mask = _resize(_pixels(image, preprocessing), size), _resize(tv_tensors.Mask(mask), size)
    height, width = min(size[0], crop_height), min(size[1], crop_width)
    box = *_corner(mask.numpy(), height, width, augmentation.max_class_share), height, width
    pixels, mask = F.crop(pixels, *box), F.crop(mask, *box)
    if torch.rand(()) < augmentation.horizontal_flip:
        pixels, mask = F.horizontal_flip(pixels), F.horizontal_flip(mask)
    if augmentation.photometric:
        pixels = _DISTORT(pixels)
    padding = [0, 0, crop_width - width, crop_height - height]
    labels = F.pad(mask, padding, fill=IGNORE).as_subclass(torch.Tensor)
    return F.pad(_normalized(pixels, preprocessing), padding), labels.long()


def _corner(labels: np.ndarray, height: int, width: int, max_class_share: float) -> tuple[int, int]:
    """Choose top and left of a random crop that no class fills, if one is found soon."""
    room = labels.shape[0] - height, labels.shape[1] - width
    for _ in range(_CROP_TRIES):
        top, left = (int(torch.randint(pixels + 1, ())) for pixels in room)
        crop = labels[top : top + height, left : left + width]
        if room == (0, 0) or max_class_share == 1 or largest_share(crop) < max_class_share:
            break
    return top, left


def largest_share(labels: np.ndarray) -> float:
    """Give the part of a mask's counted pixels that its largest class fills; 1 where none counts."""
    counts = np.bincount(labels.ravel(), minlength=IGNORE + 1)[:IGNORE]
    total = int(counts.sum())
    return float(counts.max() / total) if total else 1.0


def _pixels(image: Image.Image, spec: InputSpec) -> torch.Tensor:
    return F.pil_to_tensor(image.convert("L" if spec.input_size[0] == 1 else "RGB"))


def _normalized(pixels: torch.Tensor, spec: InputSpec) -> torch.Tensor:
    return F.normalize(F.to_dtype(pixels, torch.float32, scale=True), list(spec.mean), list(spec.std))


def _resize(pixels: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resize an image bilinearly; torchvision resizes masks by the nearest pixel, whatever the filter."""
    return F.resize(pixels, list(size), InterpolationMode.BILINEAR, antialias=False)
