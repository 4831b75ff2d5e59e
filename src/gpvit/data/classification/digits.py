"""Classification that is learned without a download: handwritten digits, varied a batch at a time."""

from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import TensorDataset, default_collate

from gpvit.data.classification.module import ClassificationData
from gpvit.data.synthetic.digits import digits_split
from gpvit.data.transforms.classification import Preprocessing
from gpvit.errors import UserError

_MEAN, _STD = 0.31, 0.35  # of the training digits, enlarged


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
        super().__init__(list("0123456789"), preprocessing, batch_size=batch_size, num_workers=num_workers)
        self.train_collate = partial(_augmented, rotation_degrees=rotation_degrees, shift=shift, zoom=zoom)

    def setup(self, stage: str | None = None) -> None:
        """Enlarge all digits once, in memory (under a second and 30 MB at 64 pixels)."""
        if self.val_set is None:
            self.train_set, self.val_set = self._enlarged("train"), self._enlarged("test")

    def _enlarged(self, split: Literal["train", "test"]) -> TensorDataset:
        transform = self.preprocessing.transform()
        images, labels = digits_split(split)
        return TensorDataset(torch.stack([transform(Image.fromarray(i)) for i in images]), torch.from_numpy(labels))


def random_affine(images: torch.Tensor, rotation_degrees: float, shift: float, zoom: float) -> torch.Tensor:
    """Turn, move and scale every digit of `(B, 1, H, W)` by random amounts of its own; black comes in at the borders.

    torchvision's RandomAffine would move a whole batch alike, and one image at a time takes far longer.
    """
    angle, factor, move_x, move_y = 2 * torch.rand(4, len(images), device=images.device) - 1
    angle = torch.deg2rad(angle * rotation_degrees)
    scale = 1 / (1 + factor * zoom)  # the grid says where to read from: reading a smaller area enlarges it
    cos, sin = scale * torch.cos(angle), scale * torch.sin(angle)
    rows = [cos, -sin, 2 * shift * move_x, sin, cos, 2 * shift * move_y]  # the grid spans -1..1, two units a side
    grid = F.affine_grid(torch.stack(rows, dim=1).view(-1, 2, 3), list(images.shape), align_corners=False)
    black = -_MEAN / _STD
    return F.grid_sample(images - black, grid, align_corners=False) + black  # outside, grid_sample reads zeros


def _augmented(samples: list[Any], **amounts: float) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = default_collate(samples)
    return (random_affine(images, **amounts) if any(amounts.values()) else images), labels
