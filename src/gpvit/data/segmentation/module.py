"""What every segmentation data module shares: images with their masks, in batches or one by one."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from torch.utils.data import DataLoader

from gpvit.data.colors import checked_colors, class_colors
from gpvit.data.module import ImageData
from gpvit.data.segmentation.dataset import Sample, SegmentationDataset, collate_whole
from gpvit.data.segmentation.masks import IGNORE
from gpvit.data.skip_corrupt import SkipCorrupt
from gpvit.data.stats import count_pixels
from gpvit.data.transforms.segmentation import STANDARD, SegmentationPreprocessing
from gpvit.data.transforms.segmentation_augmentation import (
    STANDARD_AUGMENTATION,
    SegmentationAugmentation,
    training_transform,
)
from gpvit.data.visualise import preview_segmentation
from gpvit.errors import UserError
from gpvit.io import replacing, write_text


class SegmentationData(ImageData):
    """Batches of images `(B, C, H, W)`, float and normalised, with their masks, int64; label 255 is ignored.

    Masks of training are `(B, H, W)`, of the size of the crop; masks of validation keep the size of the images,
    so that no score depends on how a mask was resized. A subclass says by `samples` where images and masks come from.

    Args:
        class_names: The classes in the order of their labels.
        preprocessing: What evaluation does to an image, and the size of training's crops.
        augmentation: What training varies.
        batch_size: Training images per batch and process.
        num_workers: Loader processes; 0 loads in the training process.
        val_batch_size: Validation images per batch; more than 1 only where all are of one size.
        colors: One RGB colour, 0 to 255, per class; None chooses distinct ones.
        max_damaged: How often training may pass over an image that cannot be read, in all processes of a loader
            together; each is named in a warning. Validation passes over none.

    Attributes:
        colors: One RGB colour per class; known before `setup`.
    """

    preprocessing: SegmentationPreprocessing

    def __init__(
        self,
        class_names: Sequence[str],
        preprocessing: SegmentationPreprocessing = STANDARD,
        augmentation: SegmentationAugmentation = STANDARD_AUGMENTATION,
        batch_size: int = 2,
        num_workers: int = 4,
        val_batch_size: int = 1,
        colors: Sequence[Sequence[int]] | None = None,
        max_damaged: int = 10,
    ) -> None:
        super().__init__(class_names, preprocessing, batch_size, num_workers)
        if len(class_names) > IGNORE:
            raise UserError(f"{len(class_names)} classes: a mask tells at most {IGNORE} apart, as {IGNORE} is ignored")
        if val_batch_size < 1 or max_damaged < 0:
            raise UserError(f"val_batch_size {val_batch_size} and max_damaged {max_damaged}: give at least 1 and 0")
        self.augmentation = augmentation
        self.val_batch_size = val_batch_size
        self.max_damaged = max_damaged
        self.colors = class_colors(self.num_classes) if colors is None else checked_colors(colors, self.num_classes)

    def samples(self, split: Literal["train", "val"]) -> Sequence[Sample]:
        """Give the samples of one part, each loaded when it is asked for; every subclass has its own."""
        raise NotImplementedError

    def setup(self, stage: str | None = None) -> None:
        """Find the images: of both parts to fit, of the validation part alone for any other stage."""
        if self.val_set is None:
            self.val_set = SegmentationDataset(self.samples("val"), self.preprocessing.transform())
        if stage in ("fit", None) and self.train_set is None:
            augment = training_transform(self.preprocessing, self.augmentation)
            self.train_set = SkipCorrupt(SegmentationDataset(self.samples("train"), augment=augment), self.max_damaged)

    def val_dataloader(self) -> DataLoader[Any]:
        """Load every validation image once, whole, in a fixed order."""
        return self._loader(self._ready(self.val_set), batch_size=self.val_batch_size, collate_fn=collate_whole)

    def write_report(self, folder: Path) -> None:
        """Write `labels.csv`, the pixels of each class, and `data.png`, a preview sheet, of the training images.

        Args:
            folder: Where to; it is made if need be. What deserves a look, of training or validation, is warned of.

        Raises:
            UserError: A mask holds a label of no class, or differs from its image in size.
        """
        self.setup("fit")
        for split in ("val", "train"):
            counts = count_pixels(self.samples(split), self.class_names)
            for message in counts.warnings():
                warnings.warn(f"{split}: {message}", stacklevel=2)
        write_text(folder / "labels.csv", counts.to_csv())
        normalisation = self.preprocessing.mean, self.preprocessing.std
        sheet = preview_segmentation(self._ready(self.train_set), self.class_names, self.colors, *normalisation)
        with replacing(folder / "data.png") as path:
            sheet.save(path)
