"""Any image a user has, as 8-bit RGB; tensors are taken where torch is there."""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Union

import numpy as np
from PIL import ExifTags, Image, ImageOps

from gpvit.errors import UserError
from gpvit.io import located

if TYPE_CHECKING:
    import torch

ImageSource = Union[str, Path, Image.Image, np.ndarray, "torch.Tensor"]
Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels, right and bottom exclusive."""

_RANGES = "uint16 lies in 0..65535, floats and booleans in [0, 1], all other integers in 0..255"


class ImageError(UserError):
    """Something that was given as an image is none, is damaged or is too large."""


def read_image(source: ImageSource, box: Box | None = None, max_pixels: int | None = None) -> Image.Image:
    """Read any image as 8-bit RGB, turned upright.

    EXIF rotation is applied, transparency is laid on white, and of an animation the first frame is taken. The type of
    values says their range, alike in files, arrays and tensors: uint16 lies in 0..65535, floats and booleans in [0, 1],
    all other integers in 0..255; values beyond it are refused.

    Args:
        source: A path, a PIL image, an array `(H, W)` or `(H, W, 1 | 3 | 4)`, or a tensor `(H, W)` or
            `(1 | 3 | 4, H, W)`.
        box: The window of the upright image that is read; None reads all of it. For many windows of a large image,
            give what `open_image` opened.
        max_pixels: Raises Pillow's limit of 178,956,970 pixels, which guards against small files that claim to be huge
            images; None takes the environment variable `GPVIT_MAX_PIXELS`, if it is set.

    Returns:
        A PIL image of mode RGB that shares no memory with `source`.

    Raises:
        FileNotFoundError: The path does not exist.
        ImageError: The file or the values are no image; the message names them and the remedy.

    Example:
        >>> read_image(np.zeros((4, 6), np.uint8)).size
        (6, 4)
    """
    if isinstance(source, str | Path):
        with _existing(source).open("rb") as file:
            return _to_rgb(*identify(file, str(source), max_pixels), box)
    return _to_rgb(*_in_memory(source), box)


def open_image(source: ImageSource, max_pixels: int | None = None) -> Image.Image:
    """Open an image without decoding it, to learn its size or to read windows of it by `read_image(image, box)`.

    Its pixels stay as they are stored, one byte for gray and palettes, three for colour, and are decoded when the first
    window is read; those of PNG files, and of images that EXIF data turn, at once.

    Args:
        source: As of `read_image`.
        max_pixels: As of `read_image`.

    Returns:
        A PIL image of any mode; `size` is the upright image's.

    Raises:
        FileNotFoundError: The path does not exist.
        ImageError: The file or the values are no image; the message names them and the remedy.
    """
    if isinstance(source, str | Path):
        return upright(*identify(_existing(source), str(source), max_pixels))
    return upright(*_in_memory(source))


def decode_image(data: bytes, name: str, max_pixels: int | None = None) -> Image.Image:
    """Read the content of an image file, which messages call `name`, as `read_image` reads the file."""
    return _to_rgb(*identify(BytesIO(data), name, max_pixels))


def _existing(path: str | Path) -> Path:
    path = located(path)
    if path.is_dir():
        raise ImageError(f"{path} is a folder, not an image; give its files (list_images finds them)")
    if not path.exists():
        link = f" links to {os.readlink(path)}, which is not there" if path.is_symlink() else ": no such image"
        raise FileNotFoundError(f"{path}{link}; check the path (relative to {Path.cwd()})")
    return path


def _in_memory(source: "Image.Image | np.ndarray | torch.Tensor") -> tuple[Image.Image, str]:
    """Make a PIL image of what is no file; give what messages call it as well."""
    if isinstance(source, Image.Image):
        return source, str(getattr(source, "filename", "")) or f"PIL image of mode {source.mode}"
    if isinstance(source, np.ndarray):
        return _from_array(source, "array"), "array"
    if (torch := sys.modules.get("torch")) is not None and isinstance(source, torch.Tensor):
        return _from_array(source, "tensor"), "tensor"
    raise TypeError(f"an image is a path, a PIL image, a numpy array or a tensor; got {type(source).__name__}")


def identify(file: Path | IO[bytes], name: str, max_pixels: int | None = None) -> tuple[Image.Image, str]:
    """Open an image file without decoding it; give the name as well."""
    given = os.environ.get("GPVIT_MAX_PIXELS", "0")
    if not given.isdecimal():
        raise UserError(f"GPVIT_MAX_PIXELS is {given!r}; give a number of pixels, such as 400000000")
    limit = max_pixels or int(given)
    usual = Image.MAX_IMAGE_PIXELS
    with decoding(name):
        try:
            if usual and limit > 2 * usual:
                Image.MAX_IMAGE_PIXELS = limit // 2 + 1  # Pillow warns from there on, and refuses twice as many
            return Image.open(file), name
        except Image.UnidentifiedImageError:
            raise ImageError(f"{name} is not an image in a known format; remove it or save it as PNG or JPEG") from None
        except Image.DecompressionBombError as error:
            raise ImageError(
                f"{name} is larger than the limit that guards against small files of huge images ({error}); if you "
                "trust it, set the environment variable GPVIT_MAX_PIXELS, or max_pixels, to its number of pixels"
            ) from None
        finally:
            Image.MAX_IMAGE_PIXELS = usual


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Name the image in whatever goes wrong: on damaged bytes Pillow's decoders raise nearly anything."""
    try:
        yield
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError(f"{name} does not fit into memory; make it smaller, or cut it into parts") from error
    except Exception as error:
        raise ImageError(f"{name} is damaged or truncated ({error}); remove it or fetch it again") from error


def upright(image: Image.Image, name: str) -> Image.Image:
    """Turn an image as its EXIF data say."""
    with decoding(name):
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
        return ImageOps.exif_transpose(image) if turned else image


def _to_rgb(image: Image.Image, name: str, box: Box | None = None) -> Image.Image:
    """Convert any image to RGB, or a window of it; the copy shares no memory with it."""
    is_16_bit = image.mode == "I" and image.format in ("PPM", "PNG")  # which Pillow opens as integers of 32 bits
    with decoding(name):
        image = upright(image, name)
        image.load()
        if box is not None:
            image = image.crop(box)
        if image.mode.startswith(("I", "F")):  # of 16 bits, 32 bits or floats, which Pillow would clip to 255
            pixels = np.asarray(image)
            image = _from_array(pixels.astype(np.uint16) if is_16_bit else pixels, name)
        if not image.has_transparency_data:
            return image.convert("RGB")
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _from_array(source: "np.ndarray | torch.Tensor", name: str) -> Image.Image:
    if isinstance(source, np.ndarray):
        layout, array = "(H, W) or (H, W, 1 | 3 | 4), channels last", source
    else:
        layout = "(H, W) or (1 | 3 | 4, H, W), channels first"
        source = source.detach().cpu()
        array = (source.float() if source.is_floating_point() else source).numpy()
        array = np.moveaxis(array, 0, -1) if array.ndim == 3 else array
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if 0 in array.shape or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise ImageError(f"{name} of shape {tuple(source.shape)}: an image is {layout}; give one image at a time")
    return Image.fromarray(np.ascontiguousarray(_to_bytes(array, name)))


def _to_bytes(array: np.ndarray, name: str) -> np.ndarray:
    """Scale values from the range that their type says."""
    kind, is_16_bit = array.dtype.kind, array.dtype.kind == "u" and array.dtype.itemsize == 2
    if kind not in "buif":
        raise ImageError(f"{name} of type {array.dtype}: {_RANGES}; convert it")
    least, largest = array.min(), array.max()
    if not (least >= 0 and largest <= (1 if kind in "bf" else 65535 if is_16_bit else 255)):  # true for NaN, too
        raise ImageError(
            f"{name} of {array.dtype} holds values from {least:g} to {largest:g}; {_RANGES}. Undo a normalisation, "
            "divide floats by the largest possible value, or save integers as uint8 or uint16"
        )
    if is_16_bit:
        if 0 < largest < 1 << 12:
            warnings.warn(
                "an image of 16 bits holds no value above 4095, so it is nearly black, as values are taken as parts of "
                "65535; if they have 12 bits, multiply them by 16, for training and prediction alike",
                stacklevel=2,
            )
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.rint(array * 255).astype(np.uint8) if kind in "bf" else array.astype(np.uint8)
