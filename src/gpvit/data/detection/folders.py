"""Images with annotations of their objects: a folder of one's own in any of three formats, and COCO 2017 itself."""

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from gpvit.data.detection.annotations import Annotations, Objects
from gpvit.data.detection.categories import read_class_names
from gpvit.data.detection.coco import read_annotations
from gpvit.data.detection.file_names import find_files
from gpvit.data.detection.layouts import Kind, find_parts
from gpvit.data.detection.module import DetectionData, DetectionDataset, Sample, Samples
from gpvit.data.detection.segmentations import rasterise
from gpvit.data.detection.tiles import Tiles
from gpvit.data.detection.voc import class_names, read_voc
from gpvit.data.detection.yolo import read_yolo
from gpvit.data.subsets import class_covering_subset
from gpvit.data.transforms.detection import training_transform
from gpvit.errors import UserError
from gpvit.io import located
from gpvit.runtime.images import read_image


class ObjectFolder(DetectionData):
    """Images in a folder, annotated in COCO's format, Pascal VOC's or YOLO's, which is found by looking.

    COCO: `root/train/`, `root/val/` and `root/annotations/{train,val}.json`, or `_annotations.coco.json` beside the
    images. Pascal VOC: `root/JPEGImages/`, `root/Annotations/` and `root/ImageSets/Main/{train,val}.txt`, or images and
    XML files in `root/train/` and `root/val/`. YOLO: `root/images/{train,val}/`, `root/labels/{train,val}/` and
    `root/data.yaml` or `root/classes.txt`, or `root/train/images/`, `root/train/labels/` and so on. `valid` stands for
    `val` as well. To evaluate, the validation part alone will do.

    Args:
        root: The folder that holds the rest.
        masks: Read masks, too; then every object needs one. Without, boxes are enough.
        drop_invalid: Leave out annotations that cannot be used, rather than refuse them.
        empty_images: Train on images without objects, too.
        train_images: Folder of the training images, from `root` on, where it is not the usual one; like the other
            three, it may also be absolute.
        train_annotations: Their annotations: a JSON file of COCO's, a folder of XML files or of texts, or a list of
            images such as `ImageSets/Main/train.txt`.
        val_images: Folder of the validation images.
        val_annotations: Their annotations.
        subset: Train on so many images only, chosen at random, where possible with every class; None for all.
        subset_seed: Another seed chooses others.
        tile: Side in pixels of the tiles that training images are cut into (see `Tiles`); None trains on whole images.
            Validation images stay whole: `gpvit evaluate --window` looks at them window by window.
        tile_overlap: Least part of a tile's side that its neighbour shows as well.
        **options: `augmentation`, `batch_size`, `num_workers` and `max_damaged` of `DetectionData`.

    Raises:
        FileNotFoundError: A file or folder is missing; those of training are looked for by `setup`.
        UserError: Annotations cannot be used, are there in several formats, or are not of the same categories in both
            parts.
    """

    kinds: ClassVar[tuple[Kind, ...]] = ("coco", "voc", "yolo")

    def __init__(
        self,
        root: str | Path,
        masks: bool = True,
        drop_invalid: bool = False,
        empty_images: bool = True,
        train_images: str | Path | None = None,
        train_annotations: str | Path | None = None,
        val_images: str | Path | None = None,
        val_annotations: str | Path | None = None,
        subset: int | None = None,
        subset_seed: int = 0,
        tile: int | None = None,
        tile_overlap: float = 0.25,
        **options: Any,
    ) -> None:
        root = located(root)
        if not root.is_dir():
            raise FileNotFoundError(f"{root}: no such folder; it should hold the images and annotations, as 'train/'")
        given = {"train": (train_images, train_annotations), "val": (val_images, val_annotations)}
        self._parts = find_parts(root, given, self.kinds)
        self._names = self._class_names(root)
        self._read: dict[str, Annotations] = {}
        self._rules: dict[str, Any] = {"masks": masks, "drop_invalid": drop_invalid}
        self.empty_images = empty_images
        self.subset = subset
        self.subset_seed = subset_seed
        self.tile, self.tile_overlap = tile, tile_overlap
        super().__init__(self.annotations("val").categories, masks, **options)

    def annotations(self, split: Literal["train", "val"]) -> Annotations:
        """Give the annotations of one part, read when they are first asked for."""
        if split in self._read:
            return self._read[split]
        part = self._parts[split]
        if part.kind == "coco":
            annotations = read_annotations(part.annotations, **self._rules)
        else:
            read = read_voc if part.kind == "voc" else read_yolo
            annotations = read(part, self._names, **self._rules)
        if split == "train":
            places = (str(self._parts[each].annotations) for each in ("val", "train"))
            if (labels := self.categories.matched(annotations.categories, *places)) is not None:
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
        return AnnotatedFiles(self.annotations(split), self._parts[split].images, self.masks)

    def training_samples(self) -> DetectionDataset:
        """Find the samples of training, which the augmentation varies: images, or tiles of them."""
        samples: Samples = self.samples("train")
        if self.tile is not None:
            samples = Tiles(samples, self.tile, self.tile_overlap)
        return DetectionDataset(samples, training_transform(self.augmentation))

    def _class_names(self, root: Path) -> list[str]:
        """Find the classes that Pascal VOC's or YOLO's files are of; those of COCO's files stand in them."""
        folders = [part.folder for part in self._parts.values() if part.exists()]
        kind = self._parts["val"].kind
        if (kind == "yolo" and folders) or (kind == "voc" and (root / "classes.txt").is_file()):
            return read_class_names(list(dict.fromkeys([root, *folders, *(folder.parent for folder in folders)])))
        return class_names(dict.fromkeys(folders)) if kind == "voc" else []


class CocoFolder(ObjectFolder):
    """Images in `root/train/` and `root/val/`, annotated in `root/annotations/train.json` and `.../val.json`.

    It takes what `ObjectFolder` takes, and looks for COCO's format alone.
    """

    kinds = ("coco",)


class VOCFolder(ObjectFolder):
    """Images annotated in Pascal VOC's format: `read_voc` says how it is read.

    It takes what `ObjectFolder` takes, and looks for this format alone; there are no masks. The classes are those of
    `root/classes.txt`, one a line, or else those found in both parts, in alphabetical order.
    """

    kinds = ("voc",)


class YOLOFolder(ObjectFolder):
    """Images annotated in YOLO's format: `read_yolo` says how it is read.

    It takes what `ObjectFolder` takes, and looks for this format alone. `data.yaml` or `classes.txt` name the classes.
    """

    kinds = ("yolo",)


class COCO(CocoFolder):
    """COCO 2017 as it is downloaded: `root/train2017/`, `root/val2017/` and `root/annotations/instances_*.json`.

    As in the released training, images without objects are not trained on, and the few annotations of COCO without an
    area are left out.

    Args:
        root: The folder that holds the three.
        masks: Read masks, too.
        **options: `subset` and `subset_seed` of `ObjectFolder`; `augmentation`, `batch_size`, `num_workers` and
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
