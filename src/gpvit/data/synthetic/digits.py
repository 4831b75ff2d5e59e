"""1,797 real handwritten digits, 8x8 pixels each, that scikit-learn carries: learning without a download."""

from functools import cache
from typing import Literal

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch.utils.data import TensorDataset
from torchvision.transforms import v2

from gpvit.data.classification.module import ClassificationData
from gpvit.data.transforms.classification import Preprocessing
from gpvit.errors import UserError

_TEST_DIGITS_PER_CLASS = 50
_MEAN, _STD = 0.31, 0.35  # of the training digits, enlarged
_BLACK = -_MEAN / _STD


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
        self.vary: v2.Transform | None = None
        if any((rotation_degrees, shift, zoom)):
            bilinear, scale = v2.InterpolationMode.BILINEAR, (1 - zoom, 1 + zoom)
            self.vary = v2.RandomAffine(rotation_degrees, (shift, shift), scale, interpolation=bilinear)

    def setup(self, stage: str | None = None) -> None:
        """Enlarge all digits once, in memory (under a second and 30 MB at 64 pixels)."""
        if self.val_set is None:
            self.train_set = _Varied(*self._enlarged("train"), self.vary)
            self.val_set = TensorDataset(*self._enlarged("test"))

    def _enlarged(self, split: Literal["train", "test"]) -> tuple[torch.Tensor, torch.Tensor]:
        transform = self.preprocessing.transform()
        images, labels = digits_split(split)
        return torch.stack([transform(Image.fromarray(image)) for image in images]), torch.from_numpy(labels)


class _Varied(TensorDataset):
    """Images and labels in memory; each image is varied anew whenever it is taken."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor, vary: v2.Transform | None) -> None:
        super().__init__(images, labels)
        self.vary = vary

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        image, label = super().__getitem__(index)
        return image if self.vary is None else self.vary(image - _BLACK) + _BLACK, label  # 0 comes in at the borders


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
