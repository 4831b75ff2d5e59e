"""What every detection data module shares: images with their objects, in torchvision's convention."""

import warnings
from pathlib import Path
from typing import Any, Literal

from torch.utils.data import DataLoader

from gpvit.data.colors import class_colors
from gpvit.data.detection.categories import Categories
from gpvit.data.detection.dataset import DetectionDataset, Samples, collate
from gpvit.data.detection.sampler import AspectRatioOrder
from gpvit.data.module import ImageData
from gpvit.data.skip_corrupt import SkipCorrupt
from gpvit.data.stats import count_objects
from gpvit.data.transforms.detection import SCHEDULE_1X, DetectionAugmentation, training_transform
from gpvit.data.visualise import preview_detection
from gpvit.errors import UserError
from gpvit.io import replacing, write_text


class DetectionData(ImageData):
    """Batches of a list of images `(3, H, W)`, float in [0, 1], and a list of their targets.

    A target holds `boxes (N, 4)`, float32, left, top, right, bottom; `labels (N,)`, int64, from 1; `masks (N, H, W)`,
    uint8, if wanted; `area (N,)`; `iscrowd (N,)` and `image_id`. Images keep the size that the augmentation gives
    them, those of validation their own; resizing these and padding batches is the model's part. Training batches hold
    wide images or tall ones. A subclass says by `samples` where images come from.

    Args:
        categories: The classes.
        masks: Give masks, too.
        augmentation: What training varies.
        batch_size: Images per batch and process.
        num_workers: Loader processes; 0 loads in the training process.
        max_damaged: How often training may pass over an image that cannot be read, in all processes of a loader
            together; each is named in a warning. Validation passes over none.

    Attributes:
        categories: As given; known before `setup`.
        class_names: Names of the labels 1 to K, without the background.
        num_classes: K.
        colors: One RGB colour, 0 to 255, per class.
    """

    fewest_classes = 1
    examined: int | None = None
    """How many images of each part `write_report` counts the objects of; None for all."""

    train_set: SkipCorrupt | None
    val_set: DetectionDataset | None

    def __init__(
        self,
        categories: Categories,
        masks: bool = True,
        augmentation: DetectionAugmentation = SCHEDULE_1X,
        batch_size: int = 2,
        num_workers: int = 4,
        max_damaged: int = 10,
    ) -> None:
        super().__init__(categories.names, None, batch_size, num_workers)
        if max_damaged < 0:
            raise UserError(f"max_damaged {max_damaged}: give 0 or more")
        self.categories = categories
        self.masks = masks
        self.augmentation = augmentation
        self.max_damaged = max_damaged
        self.colors = class_colors(len(categories))

    def samples(self, split: Literal["train", "val"]) -> Samples:
        """Give the samples of one part, each loaded when it is asked for; every subclass has its own."""
        raise NotImplementedError

    def setup(self, stage: str | None = None) -> None:
        """Find the images: of both parts to fit, of the validation part alone for any other stage."""
        if self.val_set is None:
            self.val_set = DetectionDataset(self.samples("val"))
        if stage in ("fit", None) and self.train_set is None:
            dataset = DetectionDataset(self.samples("train"), training_transform(self.augmentation))
            self.train_set = SkipCorrupt(dataset, self.max_damaged)

    def train_dataloader(self) -> DataLoader[Any]:
        """Load training batches of images of like shape, in random order."""
        dataset = self._ready(self.train_set)
        return self.train_loader(dataset, AspectRatioOrder(dataset.dataset.samples.sizes, self.batch_size), collate)

    def val_dataloader(self) -> DataLoader[Any]:
        """Load every validation image once, in a fixed order."""
        return self._loader(self._ready(self.val_set), collate_fn=collate)

    def write_report(self, folder: Path) -> None:
        """Write `boxes.csv`, the objects of each class, and `data.png`, a preview sheet, of the training images.

        Args:
            folder: Where to; it is made if need be. What deserves a look, of training or validation, is warned of.
        """
        self.setup("fit")
        for split in ("val", "train"):
            counts = count_objects(self.samples(split), self.categories, self.examined)
            for message in counts.warnings():
                warnings.warn(f"{split}: {message}", stacklevel=2)
        write_text(folder / "boxes.csv", counts.to_csv())
        sheet = preview_detection(self._ready(self.train_set), self.class_names, self.colors)
        with replacing(folder / "data.png") as path:
            sheet.save(path)
