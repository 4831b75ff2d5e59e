"""What every result knows of its image, and the outcome of an image that could not be predicted."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gpvit.io import replacing
from gpvit.runtime.images import read_image


class Result:
    """What a model says about one image.

    Attributes:
        source: The image as it was given: a path, PIL image, array or tensor.
        pixels: The decoded image, ``(height, width, 3)``, uint8, or None where it was not kept.
    """

    source: Any
    pixels: np.ndarray | None

    @property
    def image(self) -> Image.Image:
        """A copy of the image, upright and in RGB; read again from the source if its pixels were not kept."""
        return read_image(self.source) if self.pixels is None else Image.fromarray(self.pixels)

    @property
    def path(self) -> str | None:
        """Where the image lies, if the source is a path."""
        return str(self.source) if isinstance(self.source, str | Path) else None

    @property
    def source_name(self) -> str:
        """What the image is called: its path, or else the kind of source."""
        return self.path or type(self.source).__name__

    def draw(self) -> Image.Image:
        """Draw what the model says on the image, or beside it."""
        raise NotImplementedError

    def save(self, path: str | Path, *args: Any, **kwargs: Any) -> None:
        """Write the drawing, whole or not at all; the ending of the name chooses the format.

        Args:
            path: Where to write, such as ``street_predicted.png``.
            *args: As of :meth:`draw`.
            **kwargs: As of :meth:`draw`.

        Raises:
            ValueError: If the ending is no format that Pillow writes, or an option is out of range.
        """
        save_image(self.draw(*args, **kwargs), path)


@dataclass(frozen=True)
class Failure:
    """An image, the `source` as it was given, without a result, and why."""

    source: Any
    error: Exception

    def message(self, name: str) -> str:
        """Say what happened to the image of that name, in one line."""
        text = str(self.error) or type(self.error).__name__
        if not isinstance(self.error, ValueError | OSError):
            text = f"{type(self.error).__name__}: {text}"
        return " ".join((text if name in text else f"{name}: {text}").split())


def save_image(image: Image.Image, path: str | Path) -> None:
    """Write an image, whole or not at all; the ending of the name chooses the format."""
    with replacing(path) as temporary:
        image.save(temporary)
