"""A look at the training batches of any task: shapes, values, labels, and how fast they come."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gpvit.data.module import ImageData
from gpvit.data.segmentation.masks import IGNORE

_SHOWN = 6  # classes in a line


@dataclass
class Look:
    """What some training batches hold.

    Attributes:
        batch: The first of them.
        images: How many images were looked at.
        kind: What is counted: `images`, `pixels` or `objects`.
        labels: How many of each class there are, by its name.
        seconds: To load a batch, once the loader is under way.
    """

    batch: Any
    images: int
    kind: str
    labels: Counter[str]
    seconds: float

    @property
    def size(self) -> int:
        """Images of the batch."""
        return len(self.batch[0])

    def describe_labels(self) -> str:
        """Name the most frequent classes and the rarest, each with its share."""
        total = max(self.labels.total(), 1)
        ranked = [f"{name} {count / total:.1%}" for name, count in self.labels.most_common()]
        shown = ranked if len(ranked) <= _SHOWN else [*ranked[: _SHOWN - 1], "...", ranked[-1]]
        return f"{total:,} {self.kind} in {self.images} images, {len(ranked)} classes: {', '.join(shown)}"

    def suspicions(self) -> list[str]:
        """Say what is hardly meant to be so."""
        said = []
        if not self.labels:
            said.append(f"{self.images} training images have no label at all, so nothing can be learned from them")
        elif len(self.labels) == 1 and self.kind != "objects":
            (name,) = self.labels
            said.append(f"every label of {self.images} training images is {name!r}: is the class where it should be?")
        pixels = _flat(self.batch[0])
        if not pixels.isfinite().all():
            said.append("the images hold values that are not finite")
        elif pixels.std() < 1e-3:
            said.append("the images are all of one colour: do the files hold what they should?")
        elif pixels.abs().max() > 50:
            said.append(
                f"the images' values reach {pixels.abs().max():.0f}: they should be normalised, a few units wide"
            )
        return said


def look_at(data: ImageData, seconds: float = 20.0) -> Look:
    """Load training batches for a while, and look at each.

    Args:
        data: Set up for training.
        seconds: How long; a few batches are loaded in any case.
    """
    loader = data.train_dataloader()
    ahead = max(data.num_workers, 1)  # so many come at once, when all workers have theirs
    wanted = max(4 * ahead, 8)
    batches: list[Any] = []
    arrivals: list[float] = []
    labels: Counter[str] = Counter()
    kind = "images"
    images = 0
    begin = time.perf_counter()
    for batch in loader:
        arrivals.append(time.perf_counter())
        batches = batches or [batch]
        images += len(batch[0])
        kind, counts = _counted(batch[1], data.class_names)
        labels.update(counts)
        spent = arrivals[-1] - begin
        if len(arrivals) >= wanted or (spent > seconds and len(arrivals) >= 2):
            break
    first = min(ahead, len(arrivals)) - 1
    steady = len(arrivals) - 1 - first
    each = (arrivals[-1] - arrivals[first]) / steady if steady else (arrivals[-1] - begin) / len(arrivals)
    return Look(batches[0], images, kind, labels, each)


def describe(value: Any) -> str:
    """Say what a batch, a target or an output is: shapes, types and, of numbers with a fraction, their range.

    Example:
        >>> describe((torch.zeros(2, 3), torch.tensor([1, 4])))
        '(2, 3) float32 from 0.00 to 0.00, mean 0.00, std 0.00; (2,) int64 from 1 to 4'
    """
    if isinstance(value, torch.Tensor):
        return _describe_tensor(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} {_shape(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return f"{len(value)} times, first {describe(value[0])}" if value else "none"
    if isinstance(value, tuple):
        return "; ".join(map(describe, value))
    return repr(value)


def _describe_tensor(tensor: torch.Tensor) -> str:
    text = f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
    if not tensor.numel() or tensor.dtype == torch.bool:
        return text
    if not tensor.is_floating_point():
        return f"{text} from {tensor.min()} to {tensor.max()}"
    values = tensor.float()
    mean, std = values.mean(), values.std(correction=0)
    return f"{text} from {values.min():.2f} to {values.max():.2f}, mean {mean:.2f}, std {std:.2f}"


def _shape(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, torch.Tensor) else repr(value)


def _flat(images: torch.Tensor | Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.cat([image.flatten() for image in images]).float()


def _counted(targets: Any, class_names: Sequence[str]) -> tuple[str, Counter[str]]:
    """Count labels of a batch: of images `(B,)`, of pixels `(B, H, W)`, or of objects, from 1."""
    if isinstance(targets, torch.Tensor):
        kind, labels = ("images" if targets.ndim == 1 else "pixels"), targets.flatten()
        if targets.ndim > 1:
            labels = labels[labels != IGNORE]
    else:
        kind, labels = "objects", torch.cat([target["labels"] for target in targets]) - 1
    counts = torch.bincount(labels.cpu(), minlength=len(class_names)).tolist()
    return kind, Counter({name: count for name, count in zip(class_names, counts, strict=True) if count})
