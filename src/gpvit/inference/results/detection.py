"""What a detector says about one image."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from gpvit.data.detection.categories import Categories
from gpvit.data.detection.results import coco_results, run_lengths
from gpvit.data.visualise import draw_boxes
from gpvit.errors import UserError
from gpvit.inference.results.base import Result
from gpvit.models.detection.masks import paste_masks

_LEAST_SIDE = 640  # pixels of the longer side as drawn; labels would cover the objects of smaller images


class DetectedObject(NamedTuple):
    """One object: what it is, how sure the detector is, and where it is."""

    class_name: str
    label: int
    score: float
    box: tuple[float, float, float, float]
    """Left, top, right and bottom, in pixels."""


class ClassCount(NamedTuple):
    """One class and how many objects of it there are."""

    class_name: str
    label: int
    num_objects: int
    best_score: float


@dataclass(frozen=True, eq=False, repr=False)
class DetectionResult(Result):
    """The objects in one image, best first.

    Args:
        boxes: ``(N, 4)``, left, top, right and bottom in pixels of the image, float32 on the CPU.
        labels: ``(N,)``, int64, from 1.
        scores: ``(N,)``, float32, in [0, 1].
        categories: What the labels mean.
        colors: One RGB colour, 0 to 255, per class.
        size: Height and width of the image.
        source: The image as it was given: a path, PIL image, array or tensor.
        mask_probabilities: ``(N, 1, S, S)``, float32, of each box's cells to belong to the object; None from a detector
            without masks. They are small; the masks of a large image are not.
        pixels: The decoded image, ``(height, width, 3)``, uint8, if it was kept.
    """

    boxes: torch.Tensor
    labels: torch.Tensor
    scores: torch.Tensor
    categories: Categories
    colors: tuple[tuple[int, int, int], ...]
    size: tuple[int, int]
    source: Any
    mask_probabilities: torch.Tensor | None = None
    pixels: np.ndarray | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels, of which the first is 1."""
        return self.categories.names

    @property
    def masks(self) -> torch.Tensor | None:
        """Bool ``(N, height, width)`` of the image, made anew each time; None from a detector without masks."""
        if self.mask_probabilities is None:
            return None
        return paste_masks(self.mask_probabilities, self.boxes, self.size, binary=True)[:, 0]

    def filtered(self, score: float = 0.0, classes: Iterable[str] | None = None) -> "DetectionResult":
        """Keep the objects of some classes, from a minimum score up.

        Args:
            score: The minimum score.
            classes: Names of the classes; all by default.

        Raises:
            ValueError: If a class is unknown, or the score is not in [0, 1].

        Example:
            >>> result.filtered(score=0.5, classes=["cat"])
            DetectionResult(photos/a.jpg, 640 x 480: cat 0.98, cat 0.61)
        """
        if not 0 <= score <= 1:
            raise UserError(f"score {score}: give the minimum score to keep, from 0 to 1")
        kept = self.scores >= score
        if classes is not None:
            kept &= torch.isin(self.labels, torch.tensor(labels_named(classes, self.class_names), dtype=torch.int64))
        masks = None if self.mask_probabilities is None else self.mask_probabilities[kept]
        return replace(
            self, boxes=self.boxes[kept], labels=self.labels[kept], scores=self.scores[kept], mask_probabilities=masks
        )

    @cached_property
    def objects(self) -> list[DetectedObject]:
        """The objects one by one, best first."""
        columns = (self.labels.tolist(), self.scores.tolist(), map(tuple, self.boxes.tolist()))
        return [DetectedObject(self.class_names[row[0] - 1], *row) for row in zip(*columns, strict=True)]

    def counts(self) -> list[ClassCount]:
        """Count the objects of each class that was found, in the order of the best score.

        Example:
            >>> result.counts()
            [ClassCount(class_name='cat', label=17, num_objects=2, best_score=0.98)]
        """
        counts = []
        for label in dict.fromkeys(self.labels.tolist()):
            scores = self.scores[self.labels == label]
            counts.append(ClassCount(self.class_names[label - 1], label, len(scores), scores.max().item()))
        return sorted(counts, key=lambda count: -count.best_score)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: the path, if the source is one, the image's size, and the objects."""
        objects = [detected._asdict() for detected in self.objects]
        return {"source": self.path, "width": self.size[1], "height": self.size[0], "objects": objects}

    def to_supervision(self) -> Any:
        """Return the objects as `supervision.Detections`, which its annotators, trackers and zones take.

        `class_id` is the place of the class in `class_names`, from 0, and `data["class_name"]` its name.

        Raises:
            UserError: The package supervision is not installed.
        """
        try:
            supervision = import_module("supervision")
        except ImportError as error:
            raise UserError(f"to_supervision needs a package: pip install supervision ({error})") from error
        masks, names = self.masks, np.array([each.class_name for each in self.objects], str)
        detections: Any = supervision.Detections(
            xyxy=self.boxes.numpy(),
            mask=None if masks is None else masks.numpy(),
            confidence=self.scores.numpy(),
            class_id=self.labels.numpy() - 1,
            data={"class_name": names},
        )
        return detections

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """Return the objects as COCO's result files list them, masks as run lengths.

        Args:
            image_id: Id of the image in the annotation file.
        """
        found: dict[str, Any] = {"boxes": self.boxes, "labels": self.labels, "scores": self.scores}
        if self.mask_probabilities is not None:
            found["masks"] = [run_lengths(torch.from_numpy(mask)[None])[0] for mask in self._each_mask(1)]
        return coco_results(found, image_id, self.categories)

    def draw(self, scale: int | None = None) -> Image.Image:
        """Draw the objects on the image, in their classes' colours, with class and score.

        Args:
            scale: What the image's size is multiplied by first; by default 1, and more for images of less than 640
                pixels, whose objects the labels would cover.

        Raises:
            ValueError: If ``scale`` is below 1.
        """
        if scale is None:
            scale = max(_LEAST_SIDE // max(self.size), 1)
        if scale < 1:
            raise UserError(f"scale is {scale}; give 1 or more")
        image = self.image
        if scale > 1:
            image = image.resize((image.width * scale, image.height * scale), Image.Resampling.BICUBIC)
        names = [detected.class_name for detected in self.objects]
        colors = [self.colors[detected.label - 1] for detected in self.objects]
        boxes, masks = (self.boxes * scale).tolist(), self._each_mask(scale)
        return draw_boxes(image, boxes, names, scores=self.scores.tolist(), masks=masks, colors=colors)

    def _each_mask(self, scale: int) -> Iterable[np.ndarray]:
        """Make the masks one at a time, since all of them at once may be larger than the memory."""
        if self.mask_probabilities is not None:
            size = (self.size[0] * scale, self.size[1] * scale)
            for probabilities, box in zip(self.mask_probabilities, self.boxes * scale, strict=True):
                yield paste_masks(probabilities[None], box[None], size, binary=True)[0, 0].numpy()

    def __repr__(self) -> str:
        height, width = self.size
        shown = [f"{name} {score:.2f}" for name, _, score, _ in self.objects[:3]]
        if more := len(self.objects) - len(shown):
            shown.append(f"{more} more")
        return f"DetectionResult({self.source_name}, {width} x {height}: {', '.join(shown) or 'nothing'})"


def split_names(text: str, class_names: Sequence[str]) -> list[str]:
    """Split names at commas, but for those within the name of a class: the longest class that fits is taken."""
    parts, names = text.split(","), list[str]()
    while parts:
        joined = [",".join(parts[:end]).strip() for end in range(len(parts), 0, -1)]
        name = next((each for each in joined if each in class_names), joined[-1])
        names.append(name)
        del parts[: len(joined) - joined.index(name)]
    return names


def labels_named(names: Iterable[str], class_names: Sequence[str]) -> list[int]:
    """Find the labels, from 1, of some classes by their names; refuses an unknown one, and proposes the nearest."""
    names = [names] if isinstance(names, str) else list(names)
    for unknown in [name for name in names if name not in class_names]:
        near = difflib.get_close_matches(unknown, class_names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(class_names)}"
        raise UserError(f"class {unknown!r} is none of the model's {len(class_names)}; {hint}")
    return [class_names.index(name) + 1 for name in names]
