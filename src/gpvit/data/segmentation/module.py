"""What every segmentation data module shares: pairs of pictures and masks, in batches or one by one."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from torch.utils.data import DataLoader

from gpvit.data.colors import Color, class_colors
from gpvit.data.module import ImageData, write_report
from gpvit.data.segmentation.masks import IGNORE
from gpvit.data.segmentation.preview import preview_sheet
from gpvit.data.segmentation.samples import Pair, TrainingSamples, ValidationSamples, collate_whole
from gpvit.data.segmentation.stats import LabelReport, label_report
from gpvit.data.skip_corrupt import SkipCorrupt
from gpvit.data.transforms.segmentation import (
    STANDARD,
    STANDARD_AUGMENTATION,
    SegmentationAugmentation,
    SegmentationPreprocessing,
    training_transform,
)
from gpvit.errors import UserError


class SegmentationData(ImageData):
    """Batches of images `(B, C, H, W)`, float and normalised, with their masks, int64; label 255 is ignored.

    Masks of training are `(B, H, W)`, of the size of the crop; masks of validation keep the size of the pictures,
    so that no score depends on how a mask was resized. A subclass says by `pairs` where pictures and masks come from.

    Args:
        class_names: The classes in the order of their labels.
        preprocessing: What evaluation does to a picture, and the size of training's crops.
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
        self.colors = _checked(colors, self.num_classes)

    def pairs(self, split: Literal["train", "val"]) -> Sequence[Pair]:
        """Give the pairs of one part, each loaded when it is asked for; every subclass has its own."""
        raise NotImplementedError

    def val_pairs(self) -> Sequence[Pair]:
        """Give the validation pairs as pictures and label maps, for evaluations that see whole pictures."""
        return self.pairs("val")

    def setup(self, stage: str | None = None) -> None:
        """Find the pairs: of both parts to fit, of the validation part alone for any other stage."""
        if self.val_set is None:
            self.val_set = ValidationSamples(self.pairs("val"), self.preprocessing.transform())
        if stage in ("fit", None) and self.train_set is None:
            transform = training_transform(self.preprocessing, self.augmentation)
            self.train_set = SkipCorrupt(TrainingSamples(self.pairs("train"), transform), self.max_damaged)

    def val_dataloader(self) -> DataLoader[Any]:
        """Load every validation image once, whole, in a fixed order."""
        return self._loader(self._ready(self.val_set), batch_size=self.val_batch_size, collate_fn=collate_whole)

    def report(self, folder: Path, limit: int = 100) -> LabelReport:
        """Check the pairs, and write `labels.csv` and `data.png` into a run's folder, before training.

        Args:
            folder: Where to; it is made if need be.
            limit: How many pairs of each part are read.

        Returns:
            What the training masks hold; `labels.csv` has the same counts, `data.png` is the preview sheet. What
            deserves a look is warned of.

        Raises:
            ValueError: A mask holds a label of no class, or differs from its picture in size.
        """
        reports = {split: label_report(self.pairs(split), self.class_names, limit) for split in ("train", "val")}
        for split, report in reports.items():
            for message in report.warnings():
                warnings.warn(f"{split}: {message}", stacklevel=2)
        sheet = preview_sheet(self)
        write_report(folder, "labels.csv", reports["train"].to_csv(), sheet)
        return reports["train"]


def _checked(colors: Sequence[Sequence[int]] | None, num_classes: int) -> tuple[Color, ...]:
    if colors is None:
        return class_colors(num_classes)
    if len(colors) != num_classes:
        raise UserError(f"{len(colors)} colours for {num_classes} classes: give one to each")
    for color in colors:
        if len(color) != 3 or not all(0 <= value <= 255 for value in color):
            raise UserError(f"colour {list(color)}: give red, green and blue, each from 0 to 255")
    return tuple((color[0], color[1], color[2]) for color in colors)
