"""ADE20K's scene parsing benchmark in its own layout: 20,210 images to train on, 2,000 to validate, 150 classes."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

from gpvit.data.segmentation.classes import MaskClasses
from gpvit.data.segmentation.folders import MaskFolder


def ade20k_classes() -> tuple[str, ...]:
    """Name the 150 classes of the benchmark in the order of their labels."""
    listed = files("gpvit.data.segmentation").joinpath("ade20k_classes.txt")
    return tuple(listed.read_text(encoding="utf-8").split("\n")[:-1])


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
        folder = Path(root).expanduser()
        if missing := [name for name in ("images", "annotations") if not (folder / name).is_dir()]:
            raise FileNotFoundError(
                f"{folder} has no folder {' and no '.join(missing)}; give the folder ADEChallengeData2016 of the "
                "benchmark's release"
            )
        classes = MaskClasses(ade20k_classes(), reduce_zero_label=True)
        super().__init__(root, "images", "annotations", classes, image_suffix="", mask_suffix="", **options)
