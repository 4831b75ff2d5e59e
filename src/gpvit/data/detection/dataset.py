"""Images with their objects, and the targets in torchvision's convention that training and validation make of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from gpvit.data.detection.annotations import Annotations, Objects
from gpvit.data.detection.masks import rasterise
from gpvit.data.images import read_image
from gpvit.errors import UserError


class Sample(NamedTuple):
    """An image with its objects.

    Args:
        id: Number of the image, as result files name it.
        name: What messages call it.
        image: PIL image of mode RGB.
        objects: What is in it.
        masks: `(N, H, W)`, uint8, or None for boxes alone.
    """

    id: int
    name: str
    image: Image.Image
    objects: Objects
    masks: np.ndarray | None


class Samples(Protocol):
    """Where samples come from: files, or scenes drawn on the fly."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample:
        """Load one sample."""

    @property
    def sizes(self) -> np.ndarray:
        """Height and width of every image, `(N, 2)`, without loading any."""

    def name(self, index: int) -> str:
        """Say what messages call a sample."""

    def objects(self, index: int) -> Objects:
        """Give the objects of a sample without loading its image."""


class AnnotatedFiles:
    """Image files below `folder`, with the objects that an annotation file lists and, if asked for, their masks.

    Raises:
        FileNotFoundError: The folder, or files that the annotations name, are missing.
        UserError: There is not a single image.
    """

    def __init__(self, annotations: Annotations, folder: str | Path, masks: bool = True) -> None:
        self.annotations = annotations
        self.folder = Path(folder)
        self.masks = masks
        self.sizes = annotations.sizes
        if not self.folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such image folder")
        if not annotations.images:
            raise UserError(f"the annotations for {folder} list no image; there is nothing to train or to evaluate on")
        missing = [image.file_name for image in annotations.images if not (self.folder / image.file_name).is_file()]
        if missing:
            raise FileNotFoundError(
                f"{folder} lacks {len(missing)} of {len(annotations.images)} annotated images, {missing[:5]} first; "
                "add them, or give the folder that the annotations' file names start from"
            )

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitem__(self, index: int) -> Sample:
        entry, objects = self.annotations.images[index], self.annotations[index]
        path = self.folder / entry.file_name
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


class DetectionDataset(Dataset[tuple[torch.Tensor, dict[str, Any]]]):
    """Images `(3, H, W)`, float in [0, 1], each with its target.

    A target holds `boxes (N, 4)`, float32, left, top, right, bottom; `labels (N,)`, int64, from 1; `masks (N, H, W)`,
    uint8, where there are masks; `area (N,)`, float32; `iscrowd (N,)`, int64; and `image_id`, a number.

    Args:
        samples: Loaded one at a time, when asked for.
        transform: From `training_transform`; it also leaves out crowds. None keeps all as it is, for evaluation.
    """

    def __init__(self, samples: Samples, transform: v2.Transform | None = None) -> None:
        self.samples = samples
        self.transform = transform
        self.name = samples.name

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, dict[str, Any]]:
        sample = self.samples[index]
        image: torch.Tensor = tv_tensors.Image(F.pil_to_tensor(sample.image))
        if self.transform is None:
            target = _target(sample)
        else:
            single = ~sample.objects.crowds  # code: the released training does not use crowds
            objects = Objects(*(values[single] for values in sample.objects[:4]))
            masks = None if sample.masks is None else sample.masks[single]
            image, target = self.transform(image, _target(sample._replace(objects=objects, masks=masks)))
            target["area"] = _areas(target)
        target = {name: _plain(value) for name, value in target.items()}
        return _plain(F.to_dtype(image, torch.float32, scale=True)), target


def collate(samples: Sequence[tuple[torch.Tensor, dict[str, Any]]]) -> tuple[list[torch.Tensor], list[dict[str, Any]]]:
    """Make a batch of images of any sizes: two lists, as torchvision's detectors take them."""
    images, targets = zip(*samples, strict=True)
    return list(images), list(targets)


def _target(sample: Sample) -> dict[str, Any]:
    objects, size = sample.objects, sample.image.size[::-1]
    target: dict[str, Any] = {
        "boxes": tv_tensors.BoundingBoxes(objects.boxes, format="XYXY", canvas_size=size),
        "labels": torch.from_numpy(objects.labels),
        "iscrowd": torch.from_numpy(objects.crowds.astype(np.int64)),
        "image_id": sample.id,
    }
    if sample.masks is not None:
        target["masks"] = tv_tensors.Mask(sample.masks)
    area = torch.from_numpy(objects.areas)
    target["area"] = torch.where(area.isnan(), _areas(target), area)
    return target


def _areas(target: dict[str, Any]) -> torch.Tensor:
    """Count the pixels of masks, or else of boxes."""
    if "masks" in target:
        return _plain(target["masks"]).flatten(1).sum(1, dtype=torch.float32)
    left, top, right, bottom = _plain(target["boxes"]).unbind(1)
    return (right - left) * (bottom - top)


def _plain(value: Any) -> Any:
    return value.as_subclass(torch.Tensor) if isinstance(value, torch.Tensor) else value
