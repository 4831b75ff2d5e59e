"""Classification of one's own images, one folder a class: the layout of ImageNet."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torchvision.datasets import ImageFolder as FolderDataset
from torchvision.datasets.folder import find_classes

from gpvit.data.classification.module import ClassificationData
from gpvit.data.images import read_image
from gpvit.data.subsets import per_class_subset
from gpvit.data.transforms.classification import Transform, training_transform
from gpvit.errors import UserError
from gpvit.io import expand

_LAYOUT = "images belong into ROOT/train/CLASS/ and ROOT/val/CLASS/, with 'train' and 'val' in lower case"


class LabelledFiles(FolderDataset):
    """Images of one folder for each class, as torchvision finds them, each with its name."""

    def __init__(self, folder: Path, transform: Transform | None = None) -> None:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such folder, so there is nothing to train on; {_LAYOUT}")
        try:
            super().__init__(folder, transform, loader=read_image)
        except FileNotFoundError as error:  # names the class folders without images, and the known extensions
            raise FileNotFoundError(f"{folder}: {error} Add images or remove these folders") from error

    def name(self, index: int) -> str:
        """Name the file of an image."""
        return str(self.samples[index][0])


class ImageFolder(ClassificationData):
    """Images in `root/train/CLASS/` and `root/val/CLASS/`, at any depth below; classes are in alphabetical order.

    To evaluate, `val` alone will do.

    Args:
        root: The folder that holds `train` and `val`.
        per_class: Train on so many images of each class, chosen at random; None for all.
        subset_seed: Another seed chooses others.
        **options: `preprocessing`, `augmentation`, `batch_size`, `num_workers` and `max_damaged` of
            `ClassificationData`.

    Raises:
        FileNotFoundError: `root`, `val` or a class folder is missing or holds no image; the last is found by `setup`.
        UserError: `train` and `val` hold different classes.
    """

    def __init__(self, root: str | Path, per_class: int | None = None, subset_seed: int = 0, **options: Any) -> None:
        self.root = expand(root)
        if self.root.is_dir() and not (self.root / "val").is_dir():
            raise FileNotFoundError(
                f"{self.root} has no folder 'val', so the model could not be validated; {_LAYOUT}. "
                "Without validation images, move about a tenth of each class there"
            )
        folders = [folder for name in ("train", "val") if (folder := self.root / name).is_dir()]
        super().__init__(same_classes(self.root, folders), **options)
        self.per_class = per_class
        self.subset_seed = subset_seed

    def training_samples(self) -> LabelledFiles:
        """List the images of `train`, or of the subset of it."""
        samples = LabelledFiles(self.root / "train", training_transform(self.preprocessing, self.augmentation))
        if self.per_class is not None:
            chosen = per_class_subset(samples.targets, self.class_names, self.per_class, self.subset_seed)
            samples.samples = samples.imgs = [samples.samples[i] for i in chosen]
            samples.targets = [label for _, label in samples.samples]
        return samples

    def validation_samples(self) -> LabelledFiles:
        """List the images of `val`."""
        return LabelledFiles(self.root / "val", self.preprocessing.transform())


def same_classes(root: Path, folders: Sequence[Path]) -> list[str]:
    """List the class folders, which must be the same ones in all folders of a dataset, in alphabetical order."""
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; {_LAYOUT}")
    names: list[str] = []
    for folder in folders:
        try:
            found = find_classes(folder)[0]
        except FileNotFoundError:
            raise FileNotFoundError(f"{folder} holds no class folder; {_LAYOUT}") from None
        if names and names != found:
            only_first, only_this = sorted(set(names) - set(found)), sorted(set(found) - set(names))
            raise UserError(
                f"{root}: {folders[0].name} and {folder.name} must hold the same class folders; only in "
                f"{folders[0].name}: {only_first}, only in {folder.name}: {only_this}. Rename, add or remove these"
            )
        names = found
    return names
