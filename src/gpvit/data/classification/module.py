"""What every classification data module shares: whole images, each with one label."""

from pathlib import Path

from gpvit.data.module import ImageData
from gpvit.data.transforms.classification import Preprocessing
from gpvit.data.visualise import preview_classification
from gpvit.io import replacing


class ClassificationData(ImageData):
    """Batches of images `(B, C, H, W)`, float and normalised, with their labels `(B,)`, int64."""

    preprocessing: Preprocessing

    def write_report(self, folder: Path) -> None:
        """Write `data.png`, a sheet of training images as the network sees them, before training.

        Args:
            folder: Where to; it is made if need be.
        """
        self.setup("fit")
        normalisation = self.preprocessing.mean, self.preprocessing.std
        sheet = preview_classification(self._ready(self.train_set), self.class_names, *normalisation)
        with replacing(folder / "data.png") as path:
            sheet.save(path)
