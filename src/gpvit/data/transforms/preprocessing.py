"""What classification and segmentation have in common of preprocessing: input size, mean, standard deviation."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

import torch
from PIL import Image
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from gpvit.errors import UserError

Transform = Callable[[Image.Image], torch.Tensor]


@dataclass(frozen=True)
class InputSpec:
    """Size `(C, H, W)` and normalisation of a network's input; as plain data it travels with the weights."""

    input_size: tuple[int, int, int] = (3, 224, 224)
    mean: tuple[float, ...] = IMAGENET_DEFAULT_MEAN
    std: tuple[float, ...] = IMAGENET_DEFAULT_STD

    def __post_init__(self) -> None:
        for field in fields(self):
            if isinstance(value := getattr(self, field.name), list):  # from JSON and YAML
                object.__setattr__(self, field.name, tuple(value))
        if len(self.input_size) != 3 or self.input_size[0] not in (1, 3) or min(self.input_size) < 1:
            raise UserError(f"input_size {self.input_size}: give (channels, height, width) with 1 or 3 channels")
        if not len(self.mean) == len(self.std) == self.input_size[0] or min(self.std) <= 1e-6:
            raise UserError(f"mean {self.mean} and std {self.std}: give one value per channel, std above 1e-6")

    @classmethod
    def from_pretrained_cfg(cls, pretrained_cfg: Mapping[str, Any], in_chans: int | None = None) -> Self:
        """Take the preprocessing out of a timm `pretrained_cfg`; keys that it lacks keep the defaults.

        A model of one channel, `in_chans`, takes grayscale images, also where its configuration describes colour. A
        UserError refuses models of other channels, and of other crops than the centre's.
        """
        names = [field.name for field in fields(cls)]
        crop_mode = pretrained_cfg.get("crop_mode") or "center"
        if "crop_pct" in names and crop_mode != "center":
            raise UserError(f"crop_mode {crop_mode!r} of pretrained_cfg: only 'center' is supported")
        given = {name: pretrained_cfg[name] for name in names if name in pretrained_cfg}
        described = cls(**{name: value for name, value in given.items() if value is not None or name == "max_size"})
        channels, height, width = described.input_size
        if in_chans in (None, channels):
            return described
        if in_chans != 1:
            raise UserError(
                f"the model takes {in_chans} channels, image files have 3 or 1: call it with tensors instead"
            )
        mean, std = (sum(values) / channels for values in (described.mean, described.std))
        return replace(described, input_size=(1, height, width), mean=(mean,), std=(std,))

    def to_dict(self) -> dict[str, Any]:
        """Give the fields as plain data, under the names that timm's `pretrained_cfg` uses."""
        return asdict(self)
