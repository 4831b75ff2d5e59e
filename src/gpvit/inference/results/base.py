"""What every result knows of the image that it is about."""

from pathlib import Path

from PIL import Image

from gpvit.data.images import ImageSource, read_image
from gpvit.errors import UserError


class Sourced:
    """Something said about one image.

    Attributes:
        source: The image as it was given: a path, PIL image, array or tensor.
    """

    source: ImageSource

    @property
    def image(self) -> Image.Image:
        """The image, upright and in RGB; read again from the source each time, so that results stay small."""
        return read_image(self.source)

    def image_of_size(self, height: int, width: int) -> Image.Image:
        """Return the image, if it still has the size that the result is about.

        Raises:
            ValueError: If it has another size by now.
        """
        image = self.image
        if image.size != (width, height):
            raise UserError(
                f"{self.source_name} now measures {image.width} x {image.height} pixels, and measured {width} x "
                f"{height}; predict it again"
            )
        return image

    @property
    def path(self) -> str | None:
        """Where the image lies, if the source is a path."""
        return str(self.source) if isinstance(self.source, str | Path) else None

    @property
    def source_name(self) -> str:
        """What the image is called: its path, or else the kind of source."""
        return self.path or type(self.source).__name__
