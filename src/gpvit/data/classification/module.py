"""What every classification data module shares: whole images, each with one label."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from gpvit.data.module import ImageData
from gpvit.data.stats import count_labels
from gpvit.data.transforms.classification import IMAGENET, IMAGENET_AUGMENTATION, Augmentation, Preprocessing
from gpvit.data.visualise import preview_classification
from gpvit.io import replacing, write_text


class ClassificationData(ImageData):
    """Batches of images `(B, C, H, W)`, float and normalised, with their labels `(B,)`, int64.

    Args:
        class_names: The classes in the order of their labels.
        preprocessing: Input size, normalisation and evaluation crop.
        augmentation: What training varies.
        batch_size: Images per batch and process.
        num_workers: Loader processes; 0 loads in the training process, None takes one per core, at most 4.
        max_damaged: How often training may replace an image that cannot be read by another, in all processes of a
            loader together; each is named in a warning. Validation replaces none.

    Raises:
        UserError: A number is out of its range, or a class name is there twice.
    """

    preprocessing: Preprocessing

    def __init__(
        self,
        class_names: Sequence[str],
        preprocessing: Preprocessing = IMAGENET,
        augmentation: Augmentation = IMAGENET_AUGMENTATION,
        batch_size: int = 128,
        num_workers: int | None = None,
        max_damaged: int = 10,
    ) -> None:
        super().__init__(class_names, preprocessing, batch_size, num_workers, max_damaged)
        self.augmentation = augmentation

    def write_report(self, folder: Path) -> None:
        """Write `data.png`, a preview sheet, and, where labels are known, `labels.csv`, the images of each class.

        Args:
            folder: Where to; it is made if need be. Classes without a training image are warned of.
        """
        self.setup("fit")
        dataset = getattr(self.train_set, "dataset", self.train_set)
        labels = getattr(dataset, "targets", getattr(dataset, "labels", None))  # of folders; of shards
        if labels is not None:
            counts = count_labels(labels, self.class_names)
            for message in counts.warnings():
                warnings.warn(f"train: {message}", stacklevel=2)
            write_text(folder / "labels.csv", counts.to_csv())
        normalisation = self.preprocessing.mean, self.preprocessing.std
        sheet = preview_classification(self._ready(self.train_set), self.class_names, *normalisation)
        with replacing(folder / "data.png") as path:
            sheet.save(path)
