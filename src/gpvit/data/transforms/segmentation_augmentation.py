"""What training changes about pictures and masks, both alike."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from gpvit.data.segmentation.masks import IGNORE
from gpvit.data.transforms.segmentation import SegmentationPreprocessing
from gpvit.errors import UserError

_CROP_TRIES = 10


@dataclass(frozen=True)
class SegmentationAugmentation:
    """Training augmentation; the defaults are those of GPViT's released training (code: mmseg's of ADE20K).

    Args:
        scale: Smallest and largest factor on the size that the preprocessing fits a picture to.
        max_class_share: A random crop is drawn again, up to ten times, while one class fills this share of its
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
            raise UserError(f"max_class_share {self.max_class_share}: give a share above 0 and at most 1")


STANDARD_AUGMENTATION = SegmentationAugmentation()


def training_transform(
    preprocessing: SegmentationPreprocessing, augmentation: SegmentationAugmentation = STANDARD_AUGMENTATION
) -> v2.Transform:
    """Build the random transform of training.

    Args:
        preprocessing: What size a picture is fitted to before it is scaled, the size of the crop, mean and std.
        augmentation: What is varied, and how far.

    Returns:
        A transform of a PIL image and a `tv_tensors.Mask` `(H, W)` into a normalised float tensor `(C, h, w)` and an
        int64 tensor `(h, w)`, of the crop's size. A smaller picture is padded at the right and below: the normalised
        image by 0, the mask by 255.
    """
    channels, height, width = preprocessing.input_size
    return v2.Compose(
        [
            v2.Grayscale(channels) if channels == 1 else v2.RGB(),
            v2.ToImage(),
            _RandomFit(preprocessing, augmentation.scale),
            _RandomCrop((height, width), augmentation.max_class_share),
            v2.RandomHorizontalFlip(augmentation.horizontal_flip),
            *([_PhotometricDistort()] if augmentation.photometric else []),
            v2.ToDtype({tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64, "others": None}, scale=True),
            v2.Normalize(preprocessing.mean, preprocessing.std),
            _PadTo((height, width)),
            v2.ToPureTensor(),
        ]
    )


class _RandomFit(v2.Transform):
    """Resize to a random multiple of the size that the preprocessing fits pictures to."""

    def __init__(self, preprocessing: SegmentationPreprocessing, scale: tuple[float, float]) -> None:
        super().__init__()
        self.preprocessing = preprocessing
        self.scale = scale

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        factor = float(torch.empty(1).uniform_(*self.scale))
        return {"size": list(self.preprocessing.kept_shape(v2.query_size(flat_inputs), factor))}

    def transform(self, entry: Any, params: dict[str, Any]) -> Any:
        # torchvision resizes masks by the nearest pixel, whatever the filter
        return F.resize(entry, params["size"], InterpolationMode.BILINEAR, antialias=False)


class _RandomCrop(v2.Transform):
    """Cut out a random part in which no class has more than its share, if one is found soon."""

    def __init__(self, size: tuple[int, int], max_class_share: float) -> None:
        super().__init__()
        self.size = size
        self.max_class_share = max_class_share

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        (mask,) = (entry for entry in flat_inputs if isinstance(entry, tv_tensors.Mask))
        labels = mask.numpy()
        height, width = (min(side, crop) for side, crop in zip(labels.shape, self.size, strict=True))
        spare = (labels.shape[0] - height, labels.shape[1] - width)
        for _ in range(_CROP_TRIES):
            top, left = (int(torch.randint(room + 1, ())) for room in spare)
            crop = labels[top : top + height, left : left + width]
            if spare == (0, 0) or self.max_class_share == 1 or largest_share(crop) < self.max_class_share:
                break
        return {"top": top, "left": left, "height": height, "width": width}

    def transform(self, entry: Any, params: dict[str, Any]) -> Any:
        return F.crop(entry, **params)


class _PhotometricDistort(v2.RandomPhotometricDistort):
    """Without torchvision's swap of colour channels: a blue sky is never red."""

    def __init__(self) -> None:
        super().__init__(
            brightness=(1 - 32 / 255, 1 + 32 / 255),
            contrast=(0.5, 1.5),
            saturation=(0.5, 1.5),
            hue=(-0.1, 0.1),  # code: 18 of the 180 steps in which OpenCV goes round the circle
        )

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        return {**super().make_params(flat_inputs), "channel_permutation": None}


class _PadTo(v2.Transform):
    """Pad at the right and below, the image by 0 and the mask by 255."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def transform(self, entry: Any, params: dict[str, Any]) -> Any:
        below, right = (crop - side for crop, side in zip(self.size, entry.shape[-2:], strict=True))
        fill = IGNORE if isinstance(entry, tv_tensors.Mask) else 0
        return F.pad(entry, [0, 0, right, below], fill=fill)


def largest_share(labels: np.ndarray) -> float:
    """Give the share that the largest class has of a mask's counted pixels; 1 where none counts."""
    counts = np.bincount(labels.ravel(), minlength=IGNORE + 1)[:IGNORE]
    total = int(counts.sum())
    return float(counts.max() / total) if total else 1.0
