"""Images annotated in COCO's format: a folder of one's own, and COCO 2017 itself."""

from pathlib import Path
from typing import Any, Literal

import numpy as np

from gpvit.data.detection.annotations import Annotations, Objects, read_annotations
from gpvit.data.detection.file_names import find_files
from gpvit.data.detection.module import DetectionData, Sample, Samples
from gpvit.data.detection.segmentations import rasterise
from gpvit.data.subsets import class_covering_subset
from gpvit.errors import UserError
from gpvit.io import located
from gpvit.runtime.images import read_image


class CocoFolder(DetectionData):
    """Images in `root/train/` and `root/val/`, annotated in `root/annotations/train.json` and `.../val.json`.

    To evaluate, the validation part alone will do.

    Args:
        root: The folder that holds the rest.
        masks: Read masks, too; then every object needs one. Without, boxes are enough.
        drop_invalid: Leave out annotations that cannot be used, rather than refuse them.
        empty_images: Train on images without objects, too.
        train_images: Folder of the training images, from `root` on; like the other three, it may also be absolute.
        train_annotations: Their annotations.
        val_images: Folder of the validation images.
        val_annotations: Their annotations.
        subset: Train on so many images only, chosen at random, where possible with every class; None for all.
        subset_seed: Another seed chooses others.
        **options: `augmentation`, `batch_size`, `num_workers` and `max_damaged` of `DetectionData`.

    Raises:
        FileNotFoundError: A file or folder is missing; those of training are looked for by `setup`.
        UserError: Annotations cannot be used, or are not of the same categories in both parts.
    """

    def __init__(
        self,
        root: str | Path,
        masks: bool = True,
        drop_invalid: bool = False,
        empty_images: bool = True,
        train_images: str | Path = "train",
        train_annotations: str | Path = "annotations/train.json",
        val_images: str | Path = "val",
        val_annotations: str | Path = "annotations/val.json",
        subset: int | None = None,
        subset_seed: int = 0,
        **options: Any,
    ) -> None:
        root = located(root)
        if not root.is_dir():
            raise FileNotFoundError(f"{root}: no such folder; it should hold the images and annotations, as 'train/'")
        self._folders = {"train": root / located(train_images), "val": root / located(val_images)}
        self._files = {"train": root / located(train_annotations), "val": root / located(val_annotations)}
        self._read: dict[str, Annotations] = {}
        self._rules: dict[str, Any] = {"masks": masks, "drop_invalid": drop_invalid}
        self.empty_images = empty_images
        self.subset = subset
        self.subset_seed = subset_seed
        super().__init__(self.annotations("val").categories, masks, **options)

    def annotations(self, split: Literal["train", "val"]) -> Annotations:
        """Give the annotations of one part, read when they are first asked for."""
        if split in self._read:
            return self._read[split]
        annotations = read_annotations(self._files[split], **self._rules)
        if split == "train":
            given = annotations.categories, str(self._files["train"])
            if (labels := self.categories.matched(given[0], str(self._files["val"]), given[1])) is not None:
                annotations.labels = np.argsort(labels)[annotations.labels - 1] + 1
            if not self.empty_images:
                annotations = annotations.without_empty()
            if self.subset is not None:
                single = ~annotations.crowds
                objects = annotations.image_indices[single], annotations.labels[single]
                chosen = class_covering_subset(len(annotations), *objects, self.subset, self.subset_seed)
                annotations = annotations.only(chosen)
        self._read[split] = annotations
        return annotations

    def samples(self, split: Literal["train", "val"]) -> "AnnotatedFiles":
        """Give the samples of one part, each loaded when it is asked for."""
        return AnnotatedFiles(self.annotations(split), self._folders[split], self.masks)


class COCO(CocoFolder):
    """COCO 2017 as it is downloaded: `root/train2017/`, `root/val2017/` and `root/annotations/instances_*.json`.

    As in the released training, images without objects are not trained on, and the few annotations of COCO without an
    area are left out.

    Args:
        root: The folder that holds the three.
        masks: Read masks, too.
        **options: `subset` and `subset_seed` of `CocoFolder`; `augmentation`, `batch_size`, `num_workers` and
            `max_damaged` of `DetectionData`.
    """

    def __init__(self, root: str | Path, masks: bool = True, **options: Any) -> None:
        super().__init__(
            root,
            masks,
            drop_invalid=True,
            empty_images=False,
            train_images="train2017",
            train_annotations="annotations/instances_train2017.json",
            val_images="val2017",
            val_annotations="annotations/instances_val2017.json",
            **options,
        )


class AnnotatedFiles(Samples):
    """Image files below `folder`, with the objects that an annotation file lists and, if asked for, their masks."""

    def __init__(self, annotations: Annotations, folder: Path, masks: bool = True) -> None:
        self.annotations = annotations
        self.folder = folder
        self.masks = masks
        self.sizes = np.array([(image.height, image.width) for image in annotations.images])
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such image folder")
        if not annotations.images:
            raise UserError(f"the annotations for {folder} list no image; there is nothing to train or to evaluate on")
        self.files = find_files(folder, [image.file_name for image in annotations.images])

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]  # one image at a time, no slices
        objects, entry = self.annotations[index], self.annotations.images[index]
        path = self.files[index]
        image = read_image(path)
        if image.size != (entry.width, entry.height):
            raise UserError(
                f"{path} has {image.width}x{image.height} pixels, its annotations {entry.width}x{entry.height}; "
                "correct either. (Images are turned upright as their EXIF data say: annotate them upright.)"
            )
        try:
            masks = rasterise(objects.segmentations, entry.height, entry.width) if self.masks else None
        except UserError as error:
            raise UserError(f"masks of {path}: {error}") from error
        return Sample(entry.id, str(path), image, objects, masks)

    def name(self, index: int) -> str:
        """Name the file of an image."""
        return self.annotations.images[index].file_name

    def objects(self, index: int) -> Objects:
        """Give the objects of an image."""
        return self.annotations[index]
