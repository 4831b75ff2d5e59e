"""1,797 real handwritten digits, 8x8 pixels each, that scikit-learn carries: learning without a download."""

from functools import cache, partial
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.datasets import load_digits
from torch.utils.data import TensorDataset, default_collate

from gpvit.data.classification.module import ClassificationData
from gpvit.data.transforms.classification import Preprocessing
from gpvit.errors import UserError

_TEST_DIGITS_PER_CLASS = 50
_MEAN, _STD = 0.31, 0.35  # of the training digits, enlarged


def digits_split(split: Literal["train", "test"]) -> tuple[np.ndarray, np.ndarray]:
    """Give one part of the fixed split: 1,297 digits to train on, 500 to test with.

    Nothing about the split is random: of each class, 50 digits at even distances in scikit-learn's order are the test.
    The data do not say who wrote which digit, so the same 13 writers appear in both parts.

    Args:
        split: "train" or "test".

    Returns:
        Images `(N, 8, 8)`, uint8, bright ink on black, and labels `(N,)`, int64.
    """
    if split not in ("train", "test"):
        raise UserError(f"split {split!r}: choose 'train' or 'test'")
    images, labels, is_test = _digits()
    chosen = is_test == (split == "test")
    return images[chosen], labels[chosen]


class Digits(ClassificationData):
    """The digits of `digits_split`, enlarged to a size that vision backbones take, as one gray channel.

    Validation and test are both the 500 test digits: the demo tunes nothing, so no third part is held back. Whoever
    does tune, or picks a checkpoint by its validation score, reads an optimistic test score.

    Args:
        image_size: Height and width in pixels that the 8x8 digits are enlarged to, bicubic.
        batch_size: Images per batch and process.
        num_workers: Loader processes; 0, loading in the training process, is fastest for so little data.
        rotation_degrees: Each training digit is turned by up to this angle, either way.
        shift: Each is moved by up to this part of the image's side, along both axes.
        zoom: Each is made larger or smaller by up to this part. Set all three to 0 for no augmentation.

    Example:
        >>> digits = Digits(batch_size=8)
        >>> digits.setup("fit")
        >>> next(iter(digits.train_dataloader()))[0].shape
        torch.Size([8, 1, 64, 64])
    """

    def __init__(
        self,
        image_size: int = 64,
        batch_size: int = 64,
        num_workers: int = 0,
        rotation_degrees: float = 10.0,
        shift: float = 0.1,
        zoom: float = 0.1,
    ) -> None:
        if min(rotation_degrees, shift, zoom) < 0 or zoom >= 1:
            raise UserError(
                f"rotation_degrees {rotation_degrees}, shift {shift}, zoom {zoom}: give 0 or more, zoom < 1"
            )
        preprocessing = Preprocessing((1, image_size, image_size), (_MEAN,), (_STD,), crop_pct=1.0)
        super().__init__([str(digit) for digit in range(10)], preprocessing, batch_size, num_workers)
        self.train_collate = partial(_augmented, rotation_degrees=rotation_degrees, shift=shift, zoom=zoom)

    def setup(self, stage: str | None = None) -> None:
        """Enlarge all digits once, in memory (under a second and 30 MB at 64 pixels)."""
        if self.val_set is None:
            self.train_set = self._enlarged("train")
            self.val_set = self._enlarged("test")

    def _enlarged(self, split: Literal["train", "test"]) -> TensorDataset:
        transform = self.preprocessing.transform()
        images, labels = digits_split(split)
        return TensorDataset(torch.stack([transform(Image.fromarray(i)) for i in images]), torch.from_numpy(labels))


def random_affine(images: torch.Tensor, rotation_degrees: float, shift: float, zoom: float) -> torch.Tensor:
    """Turn, move and scale every image by random amounts of its own, in one pass over the batch.

    torchvision's RandomAffine would move a whole batch alike, and one image at a time takes far longer.

    Args:
        images: Normalised digits `(B, 1, H, W)`.
        rotation_degrees: Largest angle, either way.
        shift: Largest move as a part of the side.
        zoom: Largest relative change of size.

    Returns:
        `(B, 1, H, W)`; black comes in at the borders.
    """
    angle, factor, move_x, move_y = 2 * torch.rand(4, len(images), device=images.device) - 1
    angle = torch.deg2rad(angle * rotation_degrees)
    scale = 1 / (1 + factor * zoom)  # the grid says where to read from: reading a smaller area enlarges it
    cos, sin = scale * torch.cos(angle), scale * torch.sin(angle)
    rows = [cos, -sin, 2 * shift * move_x, sin, cos, 2 * shift * move_y]  # the grid spans -1..1, two units a side
    theta = torch.stack(rows, dim=1).view(-1, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    black = -_MEAN / _STD
    return F.grid_sample(images - black, grid, align_corners=False) + black  # outside, grid_sample reads zeros


def _augmented(samples: list[Any], **amounts: float) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = default_collate(samples)
    return (random_affine(images, **amounts) if any(amounts.values()) else images), labels


@cache
def _digits() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return images `(1797, 8, 8)`, labels `(1797,)` and, for each, whether it belongs to the test."""
    digits = load_digits()
    is_test = np.zeros(len(digits.target), dtype=bool)
    for label in range(10):
        members = np.flatnonzero(digits.target == label)
        is_test[members[np.arange(_TEST_DIGITS_PER_CLASS) * len(members) // _TEST_DIGITS_PER_CLASS]] = True
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # scikit-learn gives ink from 0 to 16
    return images, digits.target.astype(np.int64), is_test
