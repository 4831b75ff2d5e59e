"""Fashion-MNIST: 70,000 articles of clothing, 28x28 gray pixels, in IDX files."""

import gzip
import hashlib
import math
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from gpvit.data.classification.module import ClassificationData
from gpvit.data.files import require_folder
from gpvit.data.subsets import per_class_subset
from gpvit.data.transforms.classification import Augmentation, Preprocessing, Transform, training_transform
from gpvit.errors import UserError
from gpvit.io import located

DEBIAN_FOLDER = "/usr/share/datasets/fashion-mnist"
FILES = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
"""The published files, with the SHA-256 of what they hold, unpacked."""

CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
PREPROCESSING = Preprocessing((1, 56, 56), (0.2860,), (0.3530,), crop_pct=1.0)
AUGMENTATION = Augmentation((0.8, 1.0), (0.9, 1.1), rand_augment=None, erase_probability=0.25)
_MOST = 1_000_000  # items of a file


class FashionMNIST(ClassificationData):
    """Fashion-MNIST's 60,000 images to train on and its 10,000 test images, with which training is also validated.

    Nothing is held back of the training images: whoever tunes, or picks a checkpoint by its validation score, reads an
    optimistic test score.

    Args:
        root: The folder of the four IDX files, gzipped or not: Debian's package `dataset-fashion-mnist` puts them into
            the default, and torchvision into `FashionMNIST/raw`.
        per_class: Train on so many images of each class, chosen at random; None for all.
        subset_seed: Another seed chooses others.
        preprocessing: By default images are enlarged to twice their size, in one channel.
        augmentation: What training varies; by default crops of 80 % and more, mirror images and erasing.
        **options: `batch_size`, `num_workers` and `max_damaged` of `ClassificationData`.

    Raises:
        FileNotFoundError: The folder or a file is missing.
        UserError: A file is damaged, is no IDX file, or holds something else.
    """

    def __init__(
        self,
        root: str | Path = DEBIAN_FOLDER,
        per_class: int | None = None,
        subset_seed: int = 0,
        preprocessing: Preprocessing = PREPROCESSING,
        augmentation: Augmentation = AUGMENTATION,
        **options: Any,
    ) -> None:
        self.root = located(root)
        require_folder(self.root, "install Debian's package dataset-fashion-mnist, or give the folder of its files")
        super().__init__(CLASSES, preprocessing, augmentation, **options)
        self.per_class = per_class
        self.subset_seed = subset_seed

    def training_samples(self) -> "LabelledArrays":
        """Read the training images, or the subset of them."""
        images, labels = read_part(self.root, "train")
        chosen = per_class_subset(labels, self.class_names, self.per_class, self.subset_seed)
        return LabelledArrays(images[chosen], labels[chosen], training_transform(self.preprocessing, self.augmentation))

    def validation_samples(self) -> "LabelledArrays":
        """Read the test images."""
        return LabelledArrays(*read_part(self.root, "t10k"), self.preprocessing.transform())


class LabelledArrays(Dataset[tuple[Any, int]]):
    """Gray images `(N, H, W)`, uint8, with their labels `(N,)`."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Transform) -> None:
        self.images = images
        self.targets = labels
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.targets[index])


def read_part(root: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Read images `(N, 28, 28)`, uint8, and labels `(N,)`, int64, of a part: "train" or "t10k".

    Files that are not the published ones are warned of: MNIST and others have files of the same names.

    Raises:
        FileNotFoundError: A file is missing.
        UserError: A file is damaged, or does not hold what its name says.
    """
    images, labels = (read_idx(root, name) for name in FILES if name.startswith(part))
    if images.shape[1:] != (28, 28):
        raise UserError(f"{root}: {part} images have {images.shape[1:]} pixels; those of Fashion-MNIST have 28x28")
    if len(images) != len(labels):
        raise UserError(f"{root}: {len(images)} images and {len(labels)} labels of {part}; fetch both files again")
    if labels.size and labels.max() >= len(CLASSES):
        raise UserError(f"{root}: {part} labels reach {labels.max()}; those of Fashion-MNIST go from 0 to 9")
    return images, labels.astype(np.int64)


def unpacked(root: Path, name: str) -> tuple[Path, bytes]:
    """Find a file, gzipped or not, and read what it holds, at most as much as one of the largest size has."""
    path = next((path for path in (root / name, root / f"{name}.gz") if path.is_file()), None)
    if path is None:
        raise FileNotFoundError(f"{root} holds no {name} and no {name}.gz; give the folder of the four files")
    try:
        with path.open("rb") as plain:
            packed = plain.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            return path, file.read(_MOST * 28**2 + 17)  # its header, and a byte too many
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is damaged or cut short ({error}); fetch it again") from error


def read_idx(root: Path, name: str) -> np.ndarray:
    """Read an IDX file of bytes, gzipped or not, as an array of the shape that it says."""
    path, content = unpacked(root, name)
    header, sides = content[:4], int(name[-7])
    if header != bytes([0, 0, 8, sides]):
        raise UserError(f"{path} begins with {header!r}; an IDX file of {name} begins with 0, 0, 8, {sides}")
    start = 4 + 4 * sides
    if len(content) < start:
        raise UserError(f"{path} is damaged or cut short: its header is not whole; fetch it again")
    shape = struct.unpack(f">{sides}I", content[4:start])
    size = math.prod(shape)
    if max(shape) > _MOST or size > _MOST * 28**2:
        raise UserError(f"{path} says that it holds {shape} values; it is damaged: fetch it again")
    if (found := len(content) - start) != size:
        more = "more" if found > size else f"{found}"
        raise UserError(f"{path} says that it holds {size} values and holds {more}; it is damaged: fetch it again")
    if hashlib.sha256(content).hexdigest() != FILES[name]:
        warnings.warn(f"{path} is not the published file of Fashion-MNIST, so scores do not compare", stacklevel=4)
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
