"""What a classifier says about one image."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps

from gpvit.inference.results.base import Result

_SIDE = 512  # pixels, longer side of the image as drawn
_PANEL, _ROW, _MARGIN = 440, 48, 16  # pixels: width of the panel of bars, height of a row, margin around both


class Prediction(NamedTuple):
    """One class and how probable it is."""

    class_name: str
    class_index: int
    probability: float


@dataclass(frozen=True, eq=False, repr=False)
class ClassificationResult(Result):
    """The classes of one image.

    Args:
        logits: One for each class, ``(num_classes,)``, float32 on the CPU.
        class_names: Names of the classes, in the order of the logits.
        source: The image as it was given: a path, PIL image, array or tensor.
        pixels: The decoded image, ``(height, width, 3)``, uint8, if it was kept.
    """

    logits: torch.Tensor
    class_names: tuple[str, ...]
    source: Any
    pixels: np.ndarray | None = None

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
        """Return plain data for JSON: the path, if the source is one, and the ``k`` most probable classes."""
        return {"source": self.path, "top": [prediction._asdict() for prediction in self.top(k)]}

    def draw(self, k: int = 5) -> Image.Image:
        """Draw the image and, beside it, the ``k`` most probable classes as bars."""
        shown, top, font = ImageOps.contain(self.image, (_SIDE, _SIDE)), self.top(k), ImageFont.load_default(18)
        drawn = Image.new("RGB", (shown.width + _PANEL, max(shown.height, len(top) * _ROW + 2 * _MARGIN)), "white")
        drawn.paste(shown)
        canvas = ImageDraw.Draw(drawn)
        left, right = shown.width + _MARGIN, drawn.width - _MARGIN
        for rank, (name, _, probability) in enumerate(top):
            y, percent = _MARGIN + rank * _ROW, f"{probability:.1%}"
            while name and font.getlength(name) > right - left - font.getlength(percent) - _MARGIN:
                name = name.removesuffix("…")[:-1] + "…" if len(name) > 2 else ""
            canvas.text((left, y + 12), name, "black", font, anchor="lm")
            canvas.text((right, y + 12), percent, "black", font, anchor="rm")
            canvas.rectangle((left, y + 26, right, y + 38), fill="#e8ecf1")
            if (end := left + round(probability * (right - left))) > left:
                canvas.rectangle((left, y + 26, end, y + 38), fill="#8fb4d6" if rank else "#2471b5")
        return drawn

    def __repr__(self) -> str:
        best = ", ".join(f"{name} {probability:.1%}" for name, _, probability in self.top(3))
        return f"ClassificationResult({self.source_name}: {best})"
