"""Images as a graph takes them: resized and normalised with Pillow and numpy, equal to what the model was given."""

import math

import numpy as np
from PIL import Image

from gpvit.errors import UserError
from gpvit.runtime.metadata import Metadata
from gpvit.runtime.resizing import fitted_size, resize, resize_bytes, rounded_up


def require_pictures(metadata: Metadata, source: str) -> None:
    """Refuse a graph that takes no images of files, which have 3 channels, or 1 in gray."""
    if metadata.in_chans not in (1, 3):
        raise UserError(
            f"{source} takes images of {metadata.in_chans} channels, image files have 3 or 1: run its session on arrays"
        )


def prepare(image: Image.Image, metadata: Metadata) -> np.ndarray:
    """Turn an RGB image into a batch of one: float32 ``(1, C, H, W)`` or uint8 ``(1, H, W, C)``.

    A detector for uint8 gets the image as it is, and resizes it itself.
    """
    image = image.convert("L" if metadata.in_chans == 1 else "RGB")
    if metadata.task == "classification":
        pixels = _pixels(_cropped(image, metadata))
    elif metadata.task == "segmentation":
        how = metadata.preprocessing
        kept = fitted_size((image.height, image.width), how["max_size"])
        pixels = resize_bytes(resize_bytes(_pixels(image), kept), rounded_up(kept, how["size_divisor"]))
    else:
        pixels = _pixels(image)
    if metadata.input == "uint8":
        return pixels[None]
    normalised = _normalised(pixels, metadata)
    if metadata.task == "detection":
        kept = fitted_size((image.height, image.width), metadata.preprocessing["max_size"])
        normalised = normalised if kept == normalised.shape[1:] else resize(normalised, kept)
    return np.ascontiguousarray(normalised[None], np.float32)


def _cropped(image: Image.Image, metadata: Metadata) -> Image.Image:
    """Resize an image until it just covers the input's size over ``crop_pct``, and cut the centre out, as timm does."""
    how = metadata.preprocessing
    _, height, width = how["input_size"]
    covered = math.floor(height / how["crop_pct"]), math.floor(width / how["crop_pct"])
    if covered[0] == covered[1]:
        longer = int(covered[0] * max(image.size) / min(image.size))
        size = (covered[0], longer) if image.height <= image.width else (longer, covered[0])
    else:
        ratio = min(image.height / covered[0], image.width / covered[1])
        size = round(image.height / ratio), round(image.width / ratio)
    if size != (image.height, image.width):
        image = image.resize(size[::-1], Image.Resampling[how["interpolation"].upper()])
    top, left = round((image.height - height) / 2), round((image.width - width) / 2)
    return image.crop((left, top, left + width, top + height))


def _pixels(image: Image.Image) -> np.ndarray:
    """Return the bytes of an image, ``(H, W, C)``."""
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _normalised(pixels: np.ndarray, metadata: Metadata) -> np.ndarray:
    mean, std = (np.array(metadata.preprocessing[key], np.float32)[:, None, None] for key in ("mean", "std"))
    return (pixels.transpose(2, 0, 1).astype(np.float32) / np.float32(255) - mean) / std
