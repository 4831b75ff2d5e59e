"""Images with their masks, and the tensors that training and validation make of them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset, default_collate
from torchvision import tv_tensors
from torchvision.transforms import v2

from gpvit.data.transforms.classification import Transform
from gpvit.errors import UserError


class Sample(NamedTuple):
    """An image with the class of each of its pixels.

    Args:
        name: What messages and result files call it.
        image: PIL image of mode RGB.
        mask: Labels `(H, W)`, uint8; 255 is ignored.
    """

    name: str
    image: Image.Image
    mask: np.ndarray


class SegmentationDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Images `(C, h, w)`, float and normalised, with their masks `(H, W)`, int64.

    Args:
        samples: Loaded one at a time, when asked for; `names`, if there are any, name them in messages.
        prepare: Makes the tensor of an image, whose mask keeps the image's own size.
        augment: In place of `prepare`, varies image and mask together: from `training_transform`.
    """

    def __init__(
        self, samples: Sequence[Sample], prepare: Transform | None = None, augment: v2.Transform | None = None
    ) -> None:
        self.samples = samples
        self.prepare = prepare
        self.augment = augment

    def __len__(self) -> int:
        return len(self.samples)

    def name(self, index: int) -> str:
        """Say what messages call a sample."""
        names: Sequence[str] | None = getattr(self.samples, "names", None)
        return f"sample {index}" if names is None else names[index]

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        sample = self.samples[index]
        if self.prepare is not None:
            return self.prepare(sample.image), torch.from_numpy(sample.mask.astype(np.int64))
        image, mask = self.augment(sample.image, tv_tensors.Mask(sample.mask))  # type: ignore[misc]
        return image, mask


def collate_whole(samples: list[tuple[torch.Tensor, torch.Tensor]]) -> Any:
    """Make a batch of whole images, which must be of one size.

    Raises:
        UserError: If they are not.
    """
    sizes = {tuple(mask.shape) for _, mask in samples}
    if len(sizes) > 1:
        raise UserError(
            f"validation images of sizes {sorted(sizes)} (height, width) do not fit into one batch; "
            "set val_batch_size to 1"
        )
    return default_collate(samples)
