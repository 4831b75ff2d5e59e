"""What every classification data module shares: whole images, each with one label."""

from gpvit.data.module import ImageData
from gpvit.data.transforms.classification import Preprocessing


class ClassificationData(ImageData):
    """Batches of images `(B, C, H, W)`, float and normalised, with their labels `(B,)`, int64."""

    preprocessing: Preprocessing
