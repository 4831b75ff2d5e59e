"""ADE20K's scene parsing benchmark in its own layout: 20,210 pictures to train on, 2,000 to validate, 150 classes."""

from importlib.resources import files
from pathlib import Path
from typing import Literal

from gpvit.data.segmentation.classes import MaskClasses
from gpvit.data.segmentation.folders import FolderPairs
from gpvit.data.segmentation.module import SegmentationData
from gpvit.data.subsets import random_subset
from gpvit.data.transforms.segmentation import (
    STANDARD,
    STANDARD_AUGMENTATION,
    SegmentationAugmentation,
    SegmentationPreprocessing,
)

_FOLDERS = {"train": "training", "val": "validation"}


def ade20k_classes() -> tuple[str, ...]:
    """Name the 150 classes of the benchmark in the order of their labels."""
    listed = files("gpvit.data.segmentation").joinpath("ade20k_classes.txt")
    return tuple(listed.read_text(encoding="utf-8").split("\n")[:-1])


class ADE20K(SegmentationData):
    """The folder ADEChallengeData2016: `images/` and `annotations/`, in each `training/` and `validation/`.

    Label 0 of its masks, "other", is ignored; label 1 is the first class.

    Args:
        root: The folder that holds `images` and `annotations`.
        preprocessing: What evaluation does to a picture, and the size of training's crops.
        augmentation: What training varies.
        batch_size: Training images per batch and process; published results are of 32 in all.
        num_workers: Loader processes; 0 loads in the training process.
        max_damaged: How often training may pass over an image that cannot be read.
        subset: Train on so many pictures only, chosen at random; None for all.
        subset_seed: Another seed chooses others.

    Raises:
        FileNotFoundError: `root` lacks a folder; those of a part are looked for by `setup`.
    """

    def __init__(
        self,
        root: str | Path,
        preprocessing: SegmentationPreprocessing = STANDARD,
        augmentation: SegmentationAugmentation = STANDARD_AUGMENTATION,
        batch_size: int = 2,
        num_workers: int = 4,
        max_damaged: int = 10,
        subset: int | None = None,
        subset_seed: int = 0,
    ) -> None:
        self.root = Path(root).expanduser()
        if missing := [name for name in ("images", "annotations") if not (self.root / name).is_dir()]:
            raise FileNotFoundError(
                f"{self.root} has no folder {' and no '.join(missing)}; give the folder ADEChallengeData2016 of the "
                "benchmark's release"
            )
        self.subset = subset
        self.subset_seed = subset_seed
        self.classes = MaskClasses(ade20k_classes(), reduce_zero_label=True)
        super().__init__(
            self.classes.names, preprocessing, augmentation, batch_size, num_workers, max_damaged=max_damaged
        )

    def pairs(self, split: Literal["train", "val"]) -> FolderPairs:
        """List the pictures of one part, or of training's subset of it, with their masks."""
        folder = _FOLDERS[split]
        pairs = FolderPairs(self.root / "images" / folder, self.root / "annotations" / folder, self.classes)
        if split == "train" and self.subset is not None:
            pairs.keep(random_subset(len(pairs), self.subset, self.subset_seed))
        return pairs
