"""What a classifier says about one image."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure

from gpvit.data.images import ImageSource
from gpvit.inference.figures import new_figure, save_figure
from gpvit.inference.results.base import Sourced

_HEIGHT_IN = 3.4
_BARS_IN = 3.6  # width of the panel of bars, in inches
_LONGEST_SIDE = 1024  # pixels of the image as shown
_LONGEST_NAME = 40  # letters


class Prediction(NamedTuple):
    """One class and how probable it is."""

    class_name: str
    class_index: int
    probability: float


@dataclass(frozen=True, eq=False, repr=False)
class ClassificationResult(Sourced):
    """The classes of one image.

    Args:
        logits: One for each class, ``(num_classes,)``, float32 on the CPU.
        class_names: Names of the classes, in the order of the logits.
        source: The image as it was given: a path, PIL image, array or tensor.
    """

    logits: torch.Tensor
    class_names: tuple[str, ...]
    source: ImageSource

    @cached_property
    def probabilities(self) -> torch.Tensor:
        """Softmax of the logits, ``(num_classes,)``."""
        return self.logits.softmax(dim=0)

    def top(self, k: int = 5) -> list[Prediction]:
        """Return the most probable classes, the first first.

        Args:
            k: Number of classes; all, if there are fewer.

        Example:
            >>> result.top(1)
            [Prediction(class_name='tabby', class_index=281, probability=0.83)]
        """
        values, indices = self.probabilities.topk(min(k, len(self.probabilities)))
        return [
            Prediction(self.class_names[index], index, value)
            for value, index in zip(values.tolist(), indices.tolist(), strict=True)
        ]

    def to_dict(self, k: int = 5) -> dict[str, Any]:
        """Return plain data for JSON: the path, if the source is one, and the most probable classes.

        Args:
            k: Number of classes.
        """
        return {"source": self.path, "top": [prediction._asdict() for prediction in self.top(k)]}

    def figure(self, k: int = 5) -> Figure:
        """Show the image and, beside it, the most probable classes as bars.

        Args:
            k: Number of classes.
        """
        image = self.image
        image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
        aspect = min(max(image.width / image.height, 0.5), 2.5)
        figure = new_figure(_HEIGHT_IN * aspect + _BARS_IN, _HEIGHT_IN)
        picture, bars = figure.subplots(1, 2, width_ratios=[_HEIGHT_IN * aspect, _BARS_IN])
        picture.imshow(image)
        picture.axis("off")
        for rank, (name, _, probability) in enumerate(self.top(k)):
            bars.barh(rank, 1, height=0.3, color="#e8ecf1")
            bars.barh(rank, probability, height=0.3, color="#2471b5" if rank == 0 else "#8fb4d6")
            weight = "bold" if rank == 0 else "normal"
            bars.text(0, rank - 0.22, _shortened(name), va="bottom", weight=weight, parse_math=False)
            bars.text(1, rank - 0.22, f"{probability:.1%}", va="bottom", ha="right", weight=weight)
        bars.set(xlim=(0, 1), ylim=(min(k, len(self.logits)) - 0.5, -0.8))
        bars.axis("off")
        return figure

    def save(self, path: str | Path, k: int = 5) -> None:
        """Write the annotated picture, whole or not at all; the ending of the name chooses the format.

        Args:
            path: Where to write, as ``cat_predicted.png``.
            k: Number of classes.
        """
        save_figure(self.figure(k), path)

    def __repr__(self) -> str:
        best = ", ".join(f"{name} {probability:.1%}" for name, _, probability in self.top(3))
        return f"ClassificationResult({self.source_name}: {best})"


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
