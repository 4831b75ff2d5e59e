"""Any image a user has, as an 8-bit RGB picture."""

import glob
import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
import torch
from PIL import Image, ImageOps
from torchvision.datasets.folder import IMG_EXTENSIONS

from gpvit.errors import UserError

ImageSource = str | Path | Image.Image | np.ndarray | torch.Tensor


class ImageError(UserError):
    """Something that was given as an image is none, or is damaged."""


def read_image(source: ImageSource) -> Image.Image:
    """Read any image as 8-bit RGB, turned upright.

    EXIF rotation is applied, transparency is laid on white, 16-bit values are scaled from 0..65535, and of an
    animation the first frame is taken.

    Args:
        source: A path, a PIL image, an array `(H, W)` or `(H, W, 1 | 3 | 4)`, or a tensor `(H, W)` or
            `(1 | 3 | 4, H, W)`. Arrays and tensors hold uint8, uint16 or floats in [0, 1].

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
        return _read_file(Path(source).expanduser())
    if isinstance(source, Image.Image):
        return _decode(source, getattr(source, "filename", "") or f"PIL image of mode {source.mode}")
    if isinstance(source, torch.Tensor):
        return _from_array(_tensor_to_array(source), "tensor")
    if isinstance(source, np.ndarray):
        return _from_array(source, "array")
    raise TypeError(f"an image is a path, a PIL image, a numpy array or a tensor; got {type(source).__name__}")


def decode_image(data: bytes, name: str) -> Image.Image:
    """Read the bytes of an image file as `read_image` reads the file.

    Args:
        data: The file's content.
        name: What messages call it.

    Raises:
        ImageError: The bytes are no image; the message names it and the remedy.
    """
    return _read_stream(BytesIO(data), name)


def list_images(inputs: str | Path | Sequence[str | Path]) -> list[Path]:
    """List image files from files, folders and glob patterns, each file once, in the order of the inputs.

    Args:
        inputs: Files, and files that a pattern matches, are taken as they are, whatever their extension. Folders,
            and folders that a pattern matches, give their images at any depth, by extension. They are sorted as
            people count: `frame2.png` comes before `frame10.png`.

    Raises:
        FileNotFoundError: A path does not exist, a pattern matches nothing, or a folder holds no image.
        ValueError: `inputs` is empty.
    """
    inputs = [inputs] if isinstance(inputs, str | Path) else inputs
    if not inputs:
        raise UserError("no image was given: name at least one file, folder or pattern such as 'photos/*.jpg'")
    return list(dict.fromkeys(path for entry in inputs for path in _expand(Path(entry).expanduser())))


def _expand(entry: Path) -> list[Path]:
    if entry.is_file():
        return [entry]
    if entry.is_dir():
        images = (path for path in entry.rglob("*") if path.suffix.lower() in IMG_EXTENSIONS and path.is_file())
        found = sorted(images, key=_counted)
        if not found:
            raise FileNotFoundError(f"folder {entry} holds no image; known extensions: {' '.join(IMG_EXTENSIONS)}")
        return found
    if not glob.has_magic(str(entry)):
        raise FileNotFoundError(f"{entry}: no such file or folder; check the path (relative to {Path.cwd()})")
    matches = sorted(map(Path, glob.glob(str(entry), recursive=True)), key=_counted)
    if not matches:
        raise FileNotFoundError(f"pattern {entry} matches nothing; check it (relative to {Path.cwd()})")
    return [path for match in matches for path in _expand(match)]


def _counted(path: Path) -> list[tuple[list[str | int], str]]:
    """Order paths folder by folder, the numbers in their names by value."""
    # Texts and numbers take turns, so that equal places are of one type; names that count alike go by their letters.
    return [
        ([int(piece) if place % 2 else piece for place, piece in enumerate(re.split("([0-9]+)", name))], name)
        for name in path.parts
    ]


def _read_file(path: Path) -> Image.Image:
    if path.is_dir():
        raise ImageError(f"{path} is a folder, not an image; give its files (list_images finds them)")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such image; check the path (relative to {Path.cwd()})")
    with path.open("rb") as file:
        return _read_stream(file, str(path))


def _read_stream(file: IO[bytes], name: str) -> Image.Image:
    try:
        image = Image.open(file)
    except Image.UnidentifiedImageError:
        raise ImageError(f"{name} is not an image in a known format; remove it or save it as PNG or JPEG") from None
    except Exception as error:
        raise _damaged(name, error) from error
    return _decode(image, name)


def _decode(image: Image.Image, name: str) -> Image.Image:
    try:
        image = ImageOps.exif_transpose(image)  # also decodes the pixels, and always copies
        image.load()
        if image.mode.startswith(("I", "F")):
            return _from_array(_wide_pixels(image), name)
        if not image.has_transparency_data:
            return image.convert("RGB")
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    except ImageError:
        raise
    except Exception as error:  # on damaged bytes Pillow's decoders raise nearly anything
        raise _damaged(name, error) from error


def _damaged(name: str, error: Exception) -> ImageError:
    return ImageError(f"{name} is damaged or truncated ({error}); remove it or fetch it again")


def _wide_pixels(image: Image.Image) -> np.ndarray:
    """Return `(H, W)` pixels of a 16-bit, 32-bit or float image; Pillow would clip the first two to 255."""
    pixels = np.asarray(image)
    if pixels.dtype.kind == "i" and pixels.min() >= 0 and pixels.max() <= 65535:
        return pixels.astype(np.uint16)  # Pillow opens some 16-bit files as 32-bit integers
    return pixels


def _tensor_to_array(tensor: torch.Tensor) -> np.ndarray:
    if tensor.ndim == 3 and tensor.shape[0] in (1, 3, 4):
        tensor = tensor.permute(1, 2, 0)
    elif tensor.ndim != 2:
        raise ImageError(
            f"tensor of shape {tuple(tensor.shape)}: an image is (H, W) or (1 | 3 | 4, H, W), channels first; "
            "of a batch, give one image at a time"
        )
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


def _from_array(array: np.ndarray, name: str) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise ImageError(
            f"{name} of shape {array.shape}: an image is (H, W) or (H, W, 1 | 3 | 4), channels last; "
            "of a batch, give one image at a time"
        )
    return _decode(Image.fromarray(np.ascontiguousarray(_to_bytes(array, name))), name)


def _to_bytes(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if array.dtype.kind == "f":
        if not (array.min() >= 0 and array.max() <= 1):  # false for NaN, too
            raise ImageError(
                f"{name} of {array.dtype} holds values from {array.min():g} to {array.max():g}; floats must lie in "
                "[0, 1]: undo the normalisation, divide by the largest possible value, or give uint8"
            )
        return np.rint(array * 255).astype(np.uint8)
    raise ImageError(f"{name} of type {array.dtype}: pixels are uint8, uint16 or floats in [0, 1]; convert them")
