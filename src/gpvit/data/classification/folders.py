"""Classification of one's own images, one folder a class: the layout of ImageNet."""

from pathlib import Path

from torchvision.datasets import ImageFolder as FolderDataset
from torchvision.datasets.folder import find_classes

from gpvit.data.classification.module import ClassificationData
from gpvit.data.images import read_image
from gpvit.data.skip_corrupt import SkipCorrupt
from gpvit.data.subsets import of_each_class
from gpvit.data.transforms.classification import (
    IMAGENET,
    IMAGENET_AUGMENTATION,
    Augmentation,
    Preprocessing,
    Transform,
    training_transform,
)
from gpvit.errors import UserError

_LAYOUT = "images belong into ROOT/train/CLASS/ and ROOT/val/CLASS/, with 'train' and 'val' in lower case"


class LabelledFiles(FolderDataset):
    """Images of one folder for each class, as torchvision finds them, each with its name."""

    def name(self, index: int) -> str:
        """Name the file of an image."""
        return str(self.samples[index][0])


class ImageFolder(ClassificationData):
    """Images in `root/train/CLASS/` and `root/val/CLASS/`, at any depth below; classes are in alphabetical order.

    To evaluate, `val` alone will do.

    Args:
        root: The folder that holds `train` and `val`.
        preprocessing: Input size, normalisation and evaluation crop.
        augmentation: What training varies.
        batch_size: Images per batch and process.
        num_workers: Loader processes; 0 loads in the training process.
        per_class: Train on so many images of each class, chosen at random; None for all.
        subset_seed: Another seed chooses others.
        max_damaged: How often training may pass over an image that cannot be read, in all processes of a loader
            together; each is named in a warning. Validation passes over none.

    Raises:
        FileNotFoundError: `root`, `val` or a class folder is missing or holds no image; the last is found by `setup`.
        ValueError: `train` and `val` hold different classes.
    """

    def __init__(
        self,
        root: str | Path,
        preprocessing: Preprocessing = IMAGENET,
        augmentation: Augmentation = IMAGENET_AUGMENTATION,
        batch_size: int = 128,
        num_workers: int = 4,
        per_class: int | None = None,
        subset_seed: int = 0,
        max_damaged: int = 10,
    ) -> None:
        if max_damaged < 0:
            raise UserError(f"max_damaged {max_damaged}: give 0 or more")
        self.max_damaged = max_damaged
        self.per_class = per_class
        self.subset_seed = subset_seed
        self.root = Path(root).expanduser()
        self.augmentation = augmentation
        super().__init__(_class_names(self.root), preprocessing, batch_size, num_workers)

    def setup(self, stage: str | None = None) -> None:
        """List the images: of `train` and `val` to fit, of `val` alone for any other stage."""
        if self.val_set is None:
            self.val_set = _dataset(self.root / "val", self.preprocessing.transform())
        if stage in ("fit", None) and self.train_set is None:
            samples = _dataset(self.root / "train", training_transform(self.preprocessing, self.augmentation))
            if self.per_class is not None:
                chosen = of_each_class(samples.targets, self.class_names, self.per_class, self.subset_seed)
                samples.samples = samples.imgs = [samples.samples[i] for i in chosen]
                samples.targets = [label for _, label in samples.samples]
            self.train_set = SkipCorrupt(samples, self.max_damaged)


def _class_names(root: Path) -> list[str]:
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; {_LAYOUT}")
    if not (root / "val").is_dir():
        raise FileNotFoundError(
            f"{root} has no folder 'val', so nothing would tell how good the model is; {_LAYOUT}. "
            "Without validation images, move about a tenth of each class there"
        )
    names = _classes_of(root / "val")
    if (root / "train").is_dir() and (train_names := _classes_of(root / "train")) != names:
        only_train, only_val = (sorted(set(a) - set(b)) for a, b in ((train_names, names), (names, train_names)))
        raise UserError(
            f"{root}: train and val must hold the same class folders; only in train: {only_train}, "
            f"only in val: {only_val}. Rename, add or remove these"
        )
    return names


def _classes_of(folder: Path) -> list[str]:
    try:
        return find_classes(folder)[0]
    except FileNotFoundError:
        raise FileNotFoundError(f"{folder} holds no class folder; {_LAYOUT}") from None


def _dataset(folder: Path, transform: Transform) -> LabelledFiles:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder, so there is nothing to train on; {_LAYOUT}")
    try:
        return LabelledFiles(folder, transform, loader=read_image)
    except FileNotFoundError as error:  # names the class folders without images, and the known extensions
        raise FileNotFoundError(f"{folder}: {error} Add images or remove these folders") from error
