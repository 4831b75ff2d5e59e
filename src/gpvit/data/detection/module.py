"""What every detection data module shares: images with their objects, in torchvision's convention."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.ops import box_area
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from gpvit.data.colors import class_colors
from gpvit.data.detection.annotations import Objects
from gpvit.data.detection.categories import Categories
from gpvit.data.module import ImageData
from gpvit.data.samplers import EpochOrder, seeded_generator
from gpvit.data.stats import count_objects
from gpvit.data.transforms.detection import SCHEDULE_1X, DetectionAugmentation, training_transform
from gpvit.data.visualise import preview_detection
from gpvit.io import replacing, write_text


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


class Samples(Sequence[Sample]):
    """Samples that are loaded, or drawn, when they are asked for; `sizes` holds the height and width of each."""

    sizes: np.ndarray

    def name(self, index: int) -> str:
        """Say what messages call a sample, without loading it."""
        raise NotImplementedError

    def objects(self, index: int) -> Objects:
        """Give the objects of a sample; where its image must not be loaded for them, a subclass has its own way."""
        return self[index].objects


class DetectionData(ImageData):
    """Batches of a list of images `(3, H, W)`, float in [0, 1], and a list of their targets.

    A target holds `boxes (N, 4)`, float32, left, top, right, bottom; `labels (N,)`, int64, from 1; `masks (N, H, W)`,
    uint8, if wanted; `area (N,)`, float32; `iscrowd (N,)`, int64; and `image_id`, a number. Images keep the size that
    the augmentation gives them, those of validation their own; resizing these and padding batches is the model's part.
    Training batches hold wide images or tall ones. A subclass says by `samples` where images come from.

    Args:
        categories: The classes.
        masks: Give masks, too.
        augmentation: What training varies.
        batch_size: Images per batch and process.
        num_workers: Loader processes; 0 loads in the training process, None takes one per core, at most 4.
        max_damaged: How often training may pass over an image that cannot be read, in all processes of a loader
            together; each is named in a warning. Validation passes over none.

    Attributes:
        colors: One RGB colour, 0 to 255, per class.
    """

    fewest_classes = 1
    examined: int | None = None
    """How many images of each part `write_report` counts the objects of; None for all."""

    def __init__(
        self,
        categories: Categories,
        masks: bool = True,
        augmentation: DetectionAugmentation = SCHEDULE_1X,
        batch_size: int = 2,
        num_workers: int | None = None,
        max_damaged: int = 10,
    ) -> None:
        super().__init__(categories.names, None, batch_size, num_workers, max_damaged)
        self.categories = categories
        self.masks = masks
        self.augmentation = augmentation
        self.colors = class_colors(len(categories))

    def samples(self, split: Literal["train", "val"]) -> Samples:
        """Give the samples of one part; every subclass has its own."""
        raise NotImplementedError

    def training_samples(self) -> "DetectionDataset":
        """Find the samples of training, which the augmentation varies."""
        return DetectionDataset(self.samples("train"), training_transform(self.augmentation))

    def validation_samples(self) -> "DetectionDataset":
        """Find the samples of validation, which stay as they are."""
        return DetectionDataset(self.samples("val"))

    def train_dataloader(self) -> DataLoader[Any]:
        """Load training batches of images of like shape, in random order."""
        dataset = self._ready(self.train_set)
        return self.train_loader(dataset, AspectRatioOrder(dataset.dataset.samples.sizes, self.batch_size), collate)

    def val_dataloader(self) -> DataLoader[Any]:
        """Load every validation image once, in a fixed order."""
        return self._loader(self._ready(self.val_set), collate_fn=collate)

    def write_report(self, folder: Path) -> None:
        """Write `boxes.csv`, the objects of each class, and `data.png`, a preview sheet, of the training images.

        What deserves a look, of training or validation, is warned of.
        """
        self.setup("fit")
        for split in ("val", "train"):
            counts = count_objects(self.samples(split), self.categories, self.examined)
            for message in counts.warnings():
                warnings.warn(f"{split}: {message}", stacklevel=2)
        write_text(folder / "boxes.csv", counts.to_csv())
        sheet = preview_detection(self.train_set, self.class_names, self.colors)
        with replacing(folder / "data.png") as path:
            sheet.save(path)


class DetectionDataset(Dataset[tuple[torch.Tensor, dict[str, Any]]]):
    """Images with their targets; a transform varies them for training, without crowds, None leaves all as it is."""

    def __init__(self, samples: Samples, transform: v2.Transform | None = None) -> None:
        self.samples = samples
        self.transform = transform
        self.name = samples.name

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, dict[str, Any]]:
        sample = self.samples[index]
        image = tv_tensors.Image(F.pil_to_tensor(sample.image))
        if self.transform is None:
            target = _target(sample, slice(None))
        else:
            single = ~sample.objects.crowds  # code: the released training does not use crowds
            image, target = self.transform(image, _target(sample, single))
            target["area"] = _areas(target)
        plain: tuple[torch.Tensor, dict[str, Any]] = v2.ToPureTensor()(F.to_dtype(image, scale=True), target)
        return plain


def collate(samples: Sequence[tuple[torch.Tensor, dict[str, Any]]]) -> tuple[list[torch.Tensor], list[dict[str, Any]]]:
    """Make a batch of images of any sizes: two lists, as torchvision's detectors take them."""
    images, targets = zip(*samples, strict=True)
    return list(images), list(targets)


class AspectRatioOrder(EpochOrder):
    """Every batch holds wide images or tall ones only, so that little is padding, in random order, anew each epoch.

    What does not fill the last batch of a shape is mixed with the rest of the other shape; what is left then, fewer
    images than one batch, comes last. `sizes` holds height and width of each image, `(N, 2)`.
    """

    def __init__(self, sizes: np.ndarray, batch_size: int) -> None:
        super().__init__(len(sizes))
        self.batch_size = batch_size
        self._is_wide = torch.from_numpy(sizes[:, 1] > sizes[:, 0])

    def indices(self, seed: int, epoch: int) -> torch.Tensor:
        """Give the batches, shuffled, one after the other."""
        generator = seeded_generator(seed, epoch)
        order = torch.randperm(len(self), generator=generator)
        wide, tall = (self._batches(order[self._is_wide[order] == is_wide]) for is_wide in (True, False))
        mixed = self._batches(torch.cat([wide[1], tall[1]]))
        batches = torch.cat([wide[0], tall[0], mixed[0]])
        batches = batches[torch.randperm(len(batches), generator=generator)]
        return torch.cat([batches.flatten(), mixed[1]])

    def _batches(self, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Split indices into full batches, `(N, batch_size)`, and the rest."""
        full = len(indices) // self.batch_size * self.batch_size
        return indices[:full].view(-1, self.batch_size), indices[full:]


def _target(sample: Sample, chosen: Any) -> dict[str, Any]:
    """Make the target of the objects that `chosen` indexes."""
    boxes, labels, areas, crowds = (torch.from_numpy(values[chosen]) for values in sample.objects[:4])
    target = {
        "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=sample.image.size[::-1]),
        "labels": labels,
        "iscrowd": crowds.long(),
        "image_id": sample.id,
    }
    if sample.masks is not None:
        target["masks"] = tv_tensors.Mask(sample.masks[chosen])
    target["area"] = torch.where(areas.isnan(), _areas(target), areas)
    return target


def _areas(target: dict[str, Any]) -> torch.Tensor:
    """Count the pixels of masks, or else of boxes."""
    return target["masks"].flatten(1).sum(1, dtype=torch.float32) if "masks" in target else box_area(target["boxes"])
