"""Segmentation of one's own images: a folder of pictures and a folder of masks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from gpvit.data.images import list_images, read_image
from gpvit.data.segmentation.classes import MaskClasses, find_classes, read_classes
from gpvit.data.segmentation.module import SegmentationData
from gpvit.data.segmentation.samples import Pair
from gpvit.data.subsets import random_subset
from gpvit.data.transforms.segmentation import (
    STANDARD,
    STANDARD_AUGMENTATION,
    SegmentationAugmentation,
    SegmentationPreprocessing,
)
from gpvit.errors import UserError

_LAYOUT = (
    "pictures belong into ROOT/images/train/ and ROOT/images/val/, masks under the same names into ROOT/masks/train/ "
    "and ROOT/masks/val/"
)
_SHOWN = 3  # files named in a message


class MaskFolder(SegmentationData):
    """Pictures in `root/images/{train,val}/` and masks in `root/masks/{train,val}/`, at any depth below.

    A picture and its mask have the same name, but for the extension and the suffixes. To evaluate, `val` alone will
    do. The classes are those of `classes`, else of `root/classes.yaml`, else those found in the masks.

    Cityscapes is `MaskFolder(root, images="leftImg8bit", masks="gtFine", image_suffix="_leftImg8bit",
    mask_suffix="_gtFine_labelTrainIds")`.

    Args:
        root: The folder that holds both folders.
        images: Name of the pictures' folder.
        masks: Name of the masks' folder: index PNG, paletted PNG, or RGB together with the classes' colours.
        classes: The names of the classes, or a YAML file as `read_classes` describes it.
        image_suffix: What pictures' names end with before the extension; other files are passed over.
        mask_suffix: The same for masks.
        preprocessing: What evaluation does to a picture, and the size of training's crops.
        augmentation: What training varies.
        batch_size: Training images per batch and process.
        num_workers: Loader processes; 0 loads in the training process.
        val_batch_size: Validation images per batch; more than 1 only where all are of one size.
        max_damaged: How often training may pass over an image that cannot be read.
        subset: Train on so many pictures only, chosen at random; None for all.
        subset_seed: Another seed chooses others.

    Raises:
        FileNotFoundError: A folder is missing or holds nothing; what `train` lacks is found by `setup`.
        ValueError: The classes are not known, or a picture or a mask is alone.
    """

    def __init__(
        self,
        root: str | Path,
        images: str = "images",
        masks: str = "masks",
        classes: list[str] | str | Path | None = None,
        image_suffix: str = "",
        mask_suffix: str = "",
        preprocessing: SegmentationPreprocessing = STANDARD,
        augmentation: SegmentationAugmentation = STANDARD_AUGMENTATION,
        batch_size: int = 2,
        num_workers: int = 4,
        val_batch_size: int = 1,
        max_damaged: int = 10,
        subset: int | None = None,
        subset_seed: int = 0,
    ) -> None:
        self.root = Path(root).expanduser()
        if not self.root.is_dir():
            raise FileNotFoundError(f"{self.root}: no such folder; {_LAYOUT}")
        self.images = self.root / images
        self.masks = self.root / masks
        self.image_suffix = image_suffix
        self.mask_suffix = mask_suffix
        self.subset = subset
        self.subset_seed = subset_seed
        self.classes = self._classes(classes)
        super().__init__(
            self.classes.names,
            preprocessing,
            augmentation,
            batch_size,
            num_workers,
            val_batch_size,
            self.classes.colors,
            max_damaged,
        )

    def pairs(self, split: Literal["train", "val"]) -> "FolderPairs":
        """List the pictures of one part, or of training's subset of it, with their masks."""
        suffixes = self.image_suffix, self.mask_suffix
        pairs = FolderPairs(self.images / split, self.masks / split, self.classes, *suffixes)
        if split == "train" and self.subset is not None:
            pairs.keep(random_subset(len(pairs), self.subset, self.subset_seed))
        return pairs

    def _classes(self, given: list[str] | str | Path | None) -> MaskClasses:
        if isinstance(given, list | tuple):
            return MaskClasses(tuple(given))
        if given is not None:
            return read_classes(Path(given).expanduser())
        if (listed := self.root / "classes.yaml").is_file():
            return read_classes(listed)
        splits = [self.masks / split for split in ("train", "val") if (self.masks / split).is_dir()]
        return find_classes([path for split in splits for path in _named_files(split, self.mask_suffix).values()])


class FolderPairs(Sequence[Pair]):
    """The pictures of one folder, each with the mask of the same name in another; both are read when asked for.

    Args:
        images: Folder of the pictures.
        masks: Folder of the masks.
        classes: What the masks' labels mean.
        image_suffix: What pictures' names end with before the extension.
        mask_suffix: The same for masks.

    Raises:
        FileNotFoundError: A folder is missing or empty.
        ValueError: A picture has no mask, or a mask no picture. When a pair is read: their sizes differ, or a label
            belongs to no class.
    """

    def __init__(
        self, images: Path, masks: Path, classes: MaskClasses, image_suffix: str = "", mask_suffix: str = ""
    ) -> None:
        pictures, labels = _named_files(images, image_suffix), _named_files(masks, mask_suffix)
        for kind, other, folder, alone in (
            ("pictures", "mask", masks, [pictures[name] for name in pictures if name not in labels]),
            ("masks", "picture", images, [labels[name] for name in labels if name not in pictures]),
        ):
            if alone:
                more = f" and {len(alone) - _SHOWN} more" if len(alone) > _SHOWN else ""
                raise UserError(
                    f"{', '.join(map(str, alone[:_SHOWN]))}{more}: {kind} without a {other} of the same name below "
                    f"{folder}; add it, remove these, or set image_suffix and mask_suffix to how the names differ"
                )
        self.classes = classes
        self.names = sorted(pictures)
        self.files = [(pictures[name], labels[name]) for name in self.names]

    def __len__(self) -> int:
        return len(self.files)

    def keep(self, indices: Sequence[int]) -> None:
        """Leave out all pairs but those at some places."""
        self.names = [self.names[index] for index in indices]
        self.files = [self.files[index] for index in indices]

    def __getitem__(self, index: int) -> Pair:  # type: ignore[override]  # one pair at a time, no slices
        image_file, mask_file = self.files[index]
        picture, mask = read_image(image_file), self.classes.read(mask_file)
        if mask.shape != picture.size[::-1]:
            raise UserError(
                f"{image_file} is {picture.width}x{picture.height} pixels and its mask {mask_file} "
                f"{mask.shape[1]}x{mask.shape[0]}, width by height; a mask needs the size of its picture (turned "
                "upright, if its EXIF data say so): save it again in that size, without interpolation"
            )
        return Pair(self.names[index], picture, mask)


def _named_files(folder: Path, suffix: str) -> dict[str, Path]:
    """Give the images of a folder by their path in it, without extension and suffix."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; {_LAYOUT} (or name the folders by the options)")
    named: dict[str, Path] = {}
    for path in list_images(folder):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if not name.endswith(suffix):
            continue
        name = name.removesuffix(suffix)
        if name in named:
            raise UserError(
                f"{named[name]} and {path} have the same name; pictures and masks are paired by it: rename one"
            )
        named[name] = path
    if not named:
        raise FileNotFoundError(f"{folder}: no image has a name that ends with {suffix!r}; correct the suffix")
    return named
