"""What happens to a picture before a segmentation network sees it: fitted as a whole, not cropped."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any

import torch
from PIL import Image
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from gpvit.data.transforms.classification import Preprocessing, Transform
from gpvit.errors import UserError


@dataclass(frozen=True)
class SegmentationPreprocessing:
    """How a picture becomes a segmentation network's input; it travels with the weights.

    A picture is first resized to fit `max_size`, keeping its shape; then each side is stretched, not padded, up to a
    multiple of `size_divisor` (code: both bilinear without antialias, on 8-bit values, as mmcv resizes).

    Args:
        input_size: Channels, height and width of the crops that training takes; 1 channel means grayscale.
        mean: Mean that is subtracted from values in [0, 1], per channel.
        std: Standard deviation that they are then divided by, per channel.
        max_size: Largest long side and largest short side, in pixels, one of which the fitted picture reaches; None
            keeps a picture's own size.
        size_divisor: The sides of the network's input are multiples of it.

    Example:
        >>> SegmentationPreprocessing().transform()(Image.new("RGB", (500, 333))).shape
        torch.Size([3, 512, 800])
    """

    input_size: tuple[int, int, int] = (3, 512, 512)
    mean: tuple[float, ...] = IMAGENET_DEFAULT_MEAN
    std: tuple[float, ...] = IMAGENET_DEFAULT_STD
    max_size: tuple[int, int] | None = (2048, 512)
    size_divisor: int = 32

    def __post_init__(self) -> None:
        for name in ("input_size", "mean", "std", "max_size"):  # lists from JSON and YAML
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, tuple(value))
        Preprocessing(self.input_size, self.mean, self.std)  # the same three fields, under the same rules
        if self.max_size is not None and (len(self.max_size) != 2 or not self.max_size[0] >= self.max_size[1] > 0):
            raise UserError(f"max_size {self.max_size}: give (long side, short side) in pixels, or None")
        if self.size_divisor < 1:
            raise UserError(
                f"size_divisor {self.size_divisor}: give 1 or more; GPViT takes any, published results use 32"
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SegmentationPreprocessing":
        """Restore what `to_dict` gave, also after a trip through JSON."""
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(values) - set(known)):
            raise UserError(f"unknown preprocessing keys {unknown}; known keys: {known}")
        return cls(**values)

    @classmethod
    def from_pretrained_cfg(
        cls, pretrained_cfg: Mapping[str, Any], in_chans: int | None = None
    ) -> "SegmentationPreprocessing":
        """Take the preprocessing out of a segmenter's `pretrained_cfg`; keys it lacks keep the defaults.

        Args:
            pretrained_cfg: The configuration of a model.
            in_chans: Channels that the model takes, if known. A model of one takes gray pictures, also where its
                configuration still describes colour.

        Raises:
            ValueError: If the model takes neither gray nor colour pictures.
        """
        described = cls(
            **{field.name: pretrained_cfg[field.name] for field in fields(cls) if field.name in pretrained_cfg}
        )
        values = described.to_dict()
        colour = Preprocessing.from_pretrained_cfg(values, in_chans)
        return cls(**{**values, "input_size": colour.input_size, "mean": colour.mean, "std": colour.std})

    def to_dict(self) -> dict[str, Any]:
        """Give the fields as plain data, under the names that `pretrained_cfg` uses."""
        return asdict(self)

    def kept_shape(self, size: tuple[int, int], scale: float = 1.0) -> tuple[int, int]:
        """Say what size a picture has once it fits `max_size` times `scale`, its shape kept to a pixel.

        Args:
            size: Height and width of the picture.
            scale: What `max_size` is multiplied with; without `max_size`, the picture's own size.

        Returns:
            Height and width, at least one pixel each.
        """
        factor = scale
        if self.max_size is not None:
            long, short = self.max_size
            factor *= min(long / max(size), short / min(size))
        height, width = (max(int(side * factor + 0.5), 1) for side in size)  # code: mmcv rounds halves up
        return height, width

    def fitted(self, size: tuple[int, int], scale: float = 1.0) -> tuple[int, int]:
        """Say what size the network sees a picture of `size` (height, width) in: multiples of `size_divisor`."""
        height, width = (-(-side // self.size_divisor) * self.size_divisor for side in self.kept_shape(size, scale))
        return height, width

    def transform(self, scale: float = 1.0) -> Transform:
        """Build the evaluation transform: PIL image in, normalised float tensor `(C, *fitted(size, scale))` out.

        Args:
            scale: What the fitted size is multiplied with, for inference on several scales.
        """
        if scale <= 0:
            raise UserError(f"scale {scale}: give a factor above 0, as 1.0 for the fitted size itself")
        return partial(self._transform, scale=scale)

    def _transform(self, picture: Image.Image, scale: float) -> torch.Tensor:
        image = F.pil_to_tensor(picture.convert("L" if self.input_size[0] == 1 else "RGB"))
        height, width = image.shape[-2:]
        for size in (self.kept_shape((height, width), scale), self.fitted((height, width), scale)):
            image = F.resize(image, list(size), InterpolationMode.BILINEAR, antialias=False)
        return F.normalize(F.to_dtype(image, torch.float32, scale=True), list(self.mean), list(self.std))


STANDARD = SegmentationPreprocessing()
