"""Pictures with their masks, and the samples that training and validation make of them."""

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

Sample = tuple[torch.Tensor, torch.Tensor]


class Pair(NamedTuple):
    """A picture with the class of each of its pixels.

    Args:
        name: What messages and result files call it.
        picture: PIL image of mode RGB.
        mask: Labels `(H, W)`, uint8; 255 is ignored.
    """

    name: str
    picture: Image.Image
    mask: np.ndarray


class TrainingSamples(Dataset[Sample]):
    """Pairs under random changes: images `(C, H, W)` and masks `(H, W)`, int64, of the size of the crop.

    Args:
        pairs: Loaded one at a time, when asked for.
        transform: From `training_transform`.
    """

    def __init__(self, pairs: Sequence[Pair], transform: v2.Transform) -> None:
        self.pairs = pairs
        self.transform = transform

    def __len__(self) -> int:
        return len(self.pairs)

    def name(self, index: int) -> str:
        """Say what messages call a sample; a pair that does not tell without being read is called by its place."""
        names: Sequence[str] | None = getattr(self.pairs, "names", None)
        return f"pair {index}" if names is None else names[index]

    def __getitem__(self, index: int) -> Sample:
        pair = self.pairs[index]
        return self.transform(pair.picture, tv_tensors.Mask(pair.mask))


class ValidationSamples(Dataset[Sample]):
    """Whole images `(C, h, w)` as the network sees them, with masks `(H, W)`, int64, of the pictures' own size.

    Args:
        pairs: Loaded one at a time, when asked for.
        transform: Of the preprocessing.
    """

    def __init__(self, pairs: Sequence[Pair], transform: Transform) -> None:
        self.pairs = pairs
        self.transform = transform

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        pair = self.pairs[index]
        return self.transform(pair.picture), torch.from_numpy(pair.mask.astype(np.int64))


def collate_whole(samples: list[Sample]) -> Any:
    """Make a batch of whole images, which must be of one size.

    Raises:
        ValueError: If they are not.
    """
    sizes = {tuple(mask.shape) for _, mask in samples}
    if len(sizes) > 1:
        raise UserError(
            f"validation images of sizes {sorted(sizes)} (height, width) do not fit into one batch; "
            "set val_batch_size to 1"
        )
    return default_collate(samples)
