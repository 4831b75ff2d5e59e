"""Segmentation of a folder of images and a folder of masks: one's own, and ADE20K itself."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar, Literal

from gpvit.data.files import by_name, list_images, require_folder
from gpvit.data.segmentation.classes import MaskClasses, check_masks, find_classes, read_classes
from gpvit.data.segmentation.masks import Palette, turn_as
from gpvit.data.segmentation.module import Sample, SegmentationData
from gpvit.data.subsets import random_subset
from gpvit.errors import UserError
from gpvit.io import located
from gpvit.runtime.images import read_image

_LAYOUT = (
    "images belong into ROOT/images/train/ and ROOT/images/val/, masks under the same names into ROOT/masks/train/ "
    "and ROOT/masks/val/ (or name both folders by the options 'images' and 'masks')"
)
_SHOWN = 3  # files named in a message


class MaskFolder(SegmentationData):
    """Images in `root/images/{train,val}/` and masks in `root/masks/{train,val}/`, at any depth below.

    An image and its mask have the same name, but for the extension and the suffixes. To evaluate, `val` alone will
    do. The classes are those of `classes`, else of `root/classes.yaml`, else those found in the masks. Masks in RGB and
    of black and white need `classes.yaml`:

        names: [background, cat, dog]
        colors: [[0, 0, 0], [220, 60, 20], [40, 90, 200]]
        ignore_index: 255

    Cityscapes is `MaskFolder(root, images="leftImg8bit", masks="gtFine", image_suffix="_leftImg8bit",
    mask_suffix="_gtFine_labelTrainIds")`.

    Args:
        root: The folder that holds both folders.
        images: Name of the images' folder.
        masks: Name of the masks' folder; `read_mask` says how files are read.
        classes: The names of the classes, what a `classes.yaml` holds, or the path of such a file.
        image_suffix: What images' names end with before the extension; other files are passed over.
        mask_suffix: The same for masks.
        subset: Train on so many images only, chosen at random; None for all.
        subset_seed: Another seed chooses others.
        **options: `preprocessing`, `augmentation`, `batch_size`, `num_workers`, `val_batch_size` and `max_damaged` of
            `SegmentationData`.

    Raises:
        FileNotFoundError: A folder is missing or holds nothing; what `train` lacks is found by `setup`.
        UserError: The classes are not known, or an image or a mask is alone.
    """

    folders: ClassVar[Mapping[str, str]] = {"train": "train", "val": "val"}

    def __init__(
        self,
        root: str | Path,
        images: str = "images",
        masks: str = "masks",
        classes: list[str] | MaskClasses | str | Path | None = None,
        image_suffix: str = "",
        mask_suffix: str = "",
        subset: int | None = None,
        subset_seed: int = 0,
        **options: Any,
    ) -> None:
        self.root = located(root)
        self.images, self.masks = (self.root / located(name) for name in (images, masks))
        for folder in (self.root, self.images, self.masks):
            require_folder(folder, _LAYOUT)
        self.suffixes = image_suffix, mask_suffix
        self.subset = subset
        self.subset_seed = subset_seed
        self.classes, self._palette = self._classes(classes)
        super().__init__(self.classes.names, colors=self.classes.colors, **options)

    def samples(self, split: Literal["train", "val"]) -> "FolderSamples":
        """List the images of one part, or of training's subset of it, with their masks."""
        folders = (folder / self.folders[split] for folder in (self.images, self.masks))
        files = _paired(*map(_named_files, folders, self.suffixes))
        if split == "train" and self.subset is not None:
            files = [files[index] for index in random_subset(len(files), self.subset, self.subset_seed)]
        return FolderSamples(files, self.classes, self._palette)

    def _classes(self, given: list[str] | MaskClasses | str | Path | None) -> tuple[MaskClasses, Palette]:
        """Take the classes from what is given, a file or the masks, and the palette that the masks share."""
        parts = [part for name in self.folders.values() if (part := self.masks / name).is_dir()]
        given = given or next(filter(Path.is_file, (self.root / f"classes.{end}" for end in ("yaml", "yml"))), None)
        if given is None:
            require_folder(parts[0] if parts else self.masks / self.folders["val"], _LAYOUT)
            return find_classes([mask for part in parts for mask in _named_files(part, self.suffixes[1]).values()]), {}
        if isinstance(given, list | tuple):
            given = MaskClasses(tuple(given))
        classes = given if isinstance(given, MaskClasses) else read_classes(given)
        masks: list[Path] = []
        with suppress(FileNotFoundError):  # told by `setup`, of the parts that are used
            for part in parts:
                masks += _named_files(part, self.suffixes[1]).values()
        return classes, check_masks(classes, masks)


class ADE20K(MaskFolder):
    """The folder ADEChallengeData2016: `images/` and `annotations/`, in each `training/` and `validation/`.

    Label 0 of its masks, "other", is ignored; label 1 is the first class. Published results are of 32 images a step.

    Args:
        root: The folder that holds `images` and `annotations`.
        **options: `subset` and `subset_seed` of `MaskFolder`; `preprocessing`, `augmentation`, `batch_size`,
            `num_workers`, `val_batch_size` and `max_damaged` of `SegmentationData`.

    Raises:
        FileNotFoundError: `root` lacks a folder; those of a part are looked for by `setup`.
    """

    folders: ClassVar[Mapping[str, str]] = {"train": "training", "val": "validation"}

    def __init__(self, root: str | Path, **options: Any) -> None:
        folder = located(root)
        if missing := [name for name in ("images", "annotations") if not (folder / name).is_dir()]:
            raise FileNotFoundError(
                f"{folder} has no folder {' and no '.join(missing)}; give the folder ADEChallengeData2016 of the "
                "benchmark's release"
            )
        classes = MaskClasses(ade20k_classes(), reduce_zero_label=True)
        super().__init__(root, "images", "annotations", classes, image_suffix="", mask_suffix="", **options)


def ade20k_classes() -> tuple[str, ...]:
    """Name the 150 classes of the benchmark in the order of their labels."""
    listed = files("gpvit.data.segmentation").joinpath("ade20k_classes.txt")
    return tuple(listed.read_text(encoding="utf-8").split("\n")[:-1])


class FolderSamples(Sequence[Sample]):
    """Name, image file and mask file of each sample; both are read when asked for."""

    def __init__(self, files: Sequence[tuple[str, Path, Path]], classes: MaskClasses, palette: Palette) -> None:
        self.files = files
        self.classes = classes
        self.palette = palette

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]  # one sample at a time, no slices
        name, image_file, mask_file = self.files[index]
        image, mask = read_image(image_file), self.classes.read(mask_file, self.palette)
        if mask.shape != image.size[::-1]:
            mask = turn_as(image_file, mask)
        if mask.shape != image.size[::-1]:
            raise UserError(
                f"{image_file} is {image.width}x{image.height} pixels and its mask {mask_file} "
                f"{mask.shape[1]}x{mask.shape[0]}, width by height; a mask needs the size of its image (turned "
                "upright, if its EXIF data say so): save it again in that size, without interpolation"
            )
        return Sample(name, image, mask)

    def name(self, index: int) -> str:
        """Name an image by its path, without the extension."""
        return self.files[index][0]


def _named_files(folder: Path, suffix: str) -> dict[str, Path]:
    """Give the images of a folder by their path in it, without extension and suffix."""
    require_folder(folder, _LAYOUT)
    named = by_name(folder, list_images(folder), suffix)
    if not named:
        raise FileNotFoundError(f"{folder}: no image has a name that ends with {suffix!r}; correct the suffix")
    return named


def _paired(images: dict[str, Path], masks: dict[str, Path]) -> list[tuple[str, Path, Path]]:
    """Pair images and masks by their names."""
    for kind, these, others in (("images without a mask", images, masks), ("masks without an image", masks, images)):
        files = [these[name] for name in these if name not in others]
        if files:
            more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
            raise UserError(
                f"{', '.join(map(str, files[:_SHOWN]))}{more}: {kind} of the same name; add it, remove these, or set "
                "image_suffix and mask_suffix to how the names differ"
            )
    return [(name, images[name], masks[name]) for name in sorted(images)]
