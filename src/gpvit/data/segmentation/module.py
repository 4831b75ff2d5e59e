"""Images with their masks, from samples to batches: what every segmentation data module shares."""

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, default_collate

from gpvit.data.colors import checked_colors, class_colors
from gpvit.data.module import ImageData
from gpvit.data.segmentation.masks import IGNORE
from gpvit.data.stats import count_pixels
from gpvit.data.transforms.preprocessing import Transform
from gpvit.data.transforms.segmentation import (
    STANDARD,
    STANDARD_AUGMENTATION,
    SegmentationAugmentation,
    SegmentationPreprocessing,
    training_transform,
)
from gpvit.data.visualise import preview_segmentation
from gpvit.errors import UserError
from gpvit.io import replacing, write_text


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


class SegmentationData(ImageData):
    """Batches of images `(B, C, H, W)`, float and normalised, with their masks, int64; label 255 is ignored.

    Masks of training are `(B, H, W)`, of the size of the crop; masks of validation keep the size of the images,
    so that no score depends on how a mask was resized. A subclass says by `samples` where images and masks come from.

    Args:
        class_names: The classes in the order of their labels.
        preprocessing: What evaluation does to an image, and the size of training's crops.
        augmentation: What training varies.
        batch_size: Training images per batch and process.
        num_workers: Loader processes; 0 loads in the training process, None takes one per core, at most 4.
        val_batch_size: Validation images per batch; more than 1 only where all are of one size.
        colors: One RGB colour, 0 to 255, per class; None chooses distinct ones.
        max_damaged: How often training may pass over an image that cannot be read, in all processes of a loader
            together; each is named in a warning. Validation passes over none.
    """

    preprocessing: SegmentationPreprocessing

    def __init__(
        self,
        class_names: Sequence[str],
        preprocessing: SegmentationPreprocessing = STANDARD,
        augmentation: SegmentationAugmentation = STANDARD_AUGMENTATION,
        batch_size: int = 2,
        num_workers: int | None = None,
        val_batch_size: int = 1,
        colors: Sequence[Sequence[int]] | None = None,
        max_damaged: int = 10,
    ) -> None:
        super().__init__(class_names, preprocessing, batch_size, num_workers, max_damaged)
        if len(class_names) > IGNORE:
            raise UserError(f"{len(class_names)} classes: a mask tells at most {IGNORE} apart, as {IGNORE} is ignored")
        if val_batch_size < 1:
            raise UserError(f"val_batch_size {val_batch_size}: give at least 1")
        self.augmentation = augmentation
        self.val_batch_size = val_batch_size
        self.colors = class_colors(self.num_classes) if colors is None else checked_colors(colors, self.num_classes)

    def samples(self, split: Literal["train", "val"]) -> Sequence[Sample]:
        """Give the samples of one part, each loaded when it is asked for; every subclass has its own."""
        raise NotImplementedError

    def training_samples(self) -> "SegmentationDataset":
        """Find the samples of training, which the augmentation varies."""
        return SegmentationDataset(self.samples("train"), training_transform(self.preprocessing, self.augmentation))

    def validation_samples(self) -> "SegmentationDataset":
        """Find the samples of validation, whose masks stay whole."""
        return SegmentationDataset(self.samples("val"), partial(_prepare, self.preprocessing.transform()))

    def val_dataloader(self) -> DataLoader[Any]:
        """Load every validation image once, whole, in a fixed order."""
        return self._loader(self._ready(self.val_set), batch_size=self.val_batch_size, collate_fn=collate_whole)

    def write_report(self, folder: Path) -> None:
        """Write `labels.csv`, the pixels of each class, and `data.png`, a preview sheet, of the training images.

        What deserves a look, of training or validation, is warned of; masks that do not fit are a UserError.
        """
        self.setup("fit")
        for split in ("val", "train"):
            counts = count_pixels(self.samples(split), self.class_names)
            for message in counts.warnings():
                warnings.warn(f"{split}: {message}", stacklevel=2)
        write_text(folder / "labels.csv", counts.to_csv())
        sheet = preview_segmentation(
            self.train_set, self.class_names, self.colors, self.preprocessing.mean, self.preprocessing.std
        )
        with replacing(folder / "data.png") as path:
            sheet.save(path)


class SegmentationDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Samples, loaded when asked for, as `transform` makes tensors of an image and its mask `(H, W)`, uint8."""

    def __init__(self, samples: Sequence[Sample], transform: Any) -> None:
        self.samples = samples
        self.transform = transform
        self.name = getattr(samples, "name", "sample {}".format)  # what messages call a sample

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        _, image, mask = self.samples[index]
        return self.transform(image, torch.from_numpy(mask))


def collate_whole(samples: list[tuple[torch.Tensor, torch.Tensor]]) -> Any:
    """Make a batch of whole images, which must be of one size."""
    sizes = {tuple(mask.shape) for _, mask in samples}
    if len(sizes) > 1:
        raise UserError(
            f"validation images of sizes {sorted(sizes)} (height, width) do not fit into one batch; "
            "set val_batch_size to 1"
        )
    return default_collate(samples)


def _prepare(transform: Transform, image: Image.Image, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return transform(image), mask.long()
