"""Classification of one's own images, one folder a class: the layout of ImageNet."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from gpvit.data.classification.module import ClassificationData
from gpvit.data.files import image_files, no_images, require_folder, subfolders
from gpvit.data.subsets import per_class_subset
from gpvit.data.transforms.classification import Transform, training_transform
from gpvit.errors import UserError
from gpvit.io import located
from gpvit.runtime.images import read_image

_LAYOUT = "images belong into ROOT/train/CLASS/ and ROOT/val/CLASS/, with 'train' and 'val' in lower case"


class LabelledFiles(Dataset[tuple[Any, int]]):
    """Images, each with its label: `samples` are their files, with the labels."""

    def __init__(self, samples: list[tuple[str, int]], transform: Transform | None = None) -> None:
        self.samples = samples
        self.transform = transform

    @property
    def targets(self) -> list[int]:
        """The label of each image."""
        return [label for _, label in self.samples]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        path, label = self.samples[index]
        image = read_image(path)
        return image if self.transform is None else self.transform(image), label

    def name(self, index: int) -> str:
        """Name the file of an image."""
        return self.samples[index][0]


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
        self.root = located(root)
        require_folder(self.root, _LAYOUT)
        require_folder(self.root / "val", f"{_LAYOUT}; without images for val, move about a tenth of each class there")
        folders = [folder for name in ("train", "val") if (folder := self.root / name).is_dir()]
        super().__init__(same_classes(self.root, folders), **options)
        self.per_class = per_class
        self.subset_seed = subset_seed

    def training_samples(self) -> LabelledFiles:
        """List the images of `train`, or of the subset of it."""
        samples = class_files(self.root / "train")
        labels = [label for _, label in samples]
        chosen = per_class_subset(labels, self.class_names, self.per_class, self.subset_seed)
        return LabelledFiles([samples[i] for i in chosen], training_transform(self.preprocessing, self.augmentation))

    def validation_samples(self) -> LabelledFiles:
        """List the images of `val`."""
        return LabelledFiles(class_files(self.root / "val"), self.preprocessing.transform())


def class_files(folder: Path) -> list[tuple[str, int]]:
    """List the images of one folder for each class, at any depth below, with their labels."""
    require_folder(folder, _LAYOUT)
    folders = class_folders(folder)
    files = [sorted(image_files(each)) for each in folders.values()]
    if empty := [name for name, found in zip(folders, files, strict=True) if not found]:
        raise FileNotFoundError(
            f"{no_images(folders[empty[0]])}. Add images or remove the class folders without any: {empty}"
        )
    return [(str(path), label) for label, found in enumerate(files) for path in found]


def class_folders(folder: Path) -> dict[str, Path]:
    """Find the folder of each class, by its name in Unicode's composed form, in alphabetical order."""
    found: dict[str, Path] = {}
    for path in subfolders(folder):
        name = unicodedata.normalize("NFC", path.name)
        if name in found:
            raise UserError(
                f"class folders {str(found[name])!r} and {str(path)!r} differ in Unicode form alone; join them"
            )
        if name != name.encode(errors="replace").decode():
            raise UserError(f"class folder {str(path)!r} has a name that is not UTF-8; rename it")
        found[name] = path
    if not found:
        raise FileNotFoundError(f"{folder} holds no class folder; {_LAYOUT}")
    return dict(sorted(found.items()))


def same_classes(root: Path, folders: Sequence[Path]) -> list[str]:
    """List the class folders, which must be the same ones in all folders of a dataset, in alphabetical order."""
    names: list[str] = []
    for folder in folders:
        found = list(class_folders(folder))
        if names and names != found:
            only_first, only_this = sorted(set(names) - set(found)), sorted(set(found) - set(names))
            raise UserError(
                f"{root}: {folders[0].name} and {folder.name} must hold the same class folders; only in "
                f"{folders[0].name}: {only_first}, only in {folder.name}: {only_this}. Rename, add or remove these"
            )
        names = found
    return names
