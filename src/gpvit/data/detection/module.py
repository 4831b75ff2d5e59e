"""What every detection data module shares: pictures with their objects, in torchvision's convention."""

import warnings
from pathlib import Path
from typing import Any, Literal

from torch.utils.data import DataLoader

from gpvit.data.colors import class_colors
from gpvit.data.detection.categories import Categories
from gpvit.data.detection.dataset import Pictures, Samples, collate
from gpvit.data.detection.preview import preview_sheet
from gpvit.data.detection.sampler import AspectRatioOrder
from gpvit.data.detection.stats import BoxReport, box_report
from gpvit.data.module import ImageData, write_report
from gpvit.data.skip_corrupt import SkipCorrupt
from gpvit.data.transforms.detection import SCHEDULE_1X, DetectionAugmentation, training_transform
from gpvit.errors import UserError


class DetectionData(ImageData):
    """Batches of a list of images `(3, H, W)`, float in [0, 1], and a list of their targets.

    A target holds `boxes (N, 4)`, float32, left, top, right, bottom; `labels (N,)`, int64, from 1; `masks (N, H, W)`,
    uint8, if wanted; `area (N,)`; `iscrowd (N,)` and `image_id`. Images keep the size that the augmentation gives
    them, those of validation their own; resizing these and padding batches is the model's part. Training batches hold
    wide pictures or tall ones. A subclass says by `pictures` where pictures come from.

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
    """How many pictures of each part `report` looks at; None for all."""

    train_set: SkipCorrupt | None
    val_set: Samples | None

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

    def pictures(self, split: Literal["train", "val"]) -> Pictures:
        """Give the pictures of one part, each loaded when it is asked for; every subclass has its own."""
        raise NotImplementedError

    def setup(self, stage: str | None = None) -> None:
        """Find the pictures: of both parts to fit, of the validation part alone for any other stage."""
        if self.val_set is None:
            self.val_set = Samples(self.pictures("val"))
        if stage in ("fit", None) and self.train_set is None:
            samples = Samples(self.pictures("train"), training_transform(self.augmentation))
            self.train_set = SkipCorrupt(samples, self.max_damaged)

    def train_dataloader(self) -> DataLoader[Any]:
        """Load training batches of pictures of like shape, in random order."""
        dataset = self._ready(self.train_set)
        order = AspectRatioOrder(dataset.dataset.pictures.sizes, self.batch_size)
        return self.train_loader(dataset, order, collate)

    def val_dataloader(self) -> DataLoader[Any]:
        """Load every validation picture once, in a fixed order."""
        return self._loader(self._ready(self.val_set), collate_fn=collate)

    def report(self, folder: Path) -> BoxReport:
        """Check the boxes, and write `boxes.csv` and `data.png` into a run's folder, before training.

        Args:
            folder: Where to; it is made if need be.

        Returns:
            What the training boxes amount to at the size that training sees them in; `boxes.csv` has the same figures,
            `data.png` is the preview sheet. What deserves a look is warned of.
        """
        self.setup("fit")
        reports = {}
        for split, dataset in (("train", self.train_set.dataset), ("val", self.val_set)):  # type: ignore[union-attr]
            reports[split] = box_report(dataset.pictures, self.categories, self.augmentation, self.examined)  # type: ignore[union-attr]
            for message in reports[split].warnings():
                warnings.warn(f"{split}: {message}", stacklevel=2)
        sheet = preview_sheet(self)
        write_report(folder, "boxes.csv", reports["train"].to_csv(), sheet)
        return reports["train"]
