"""Handwritten digits as ink on photographs: the parts that scenes are drawn of."""

import math
from functools import cache

import numpy as np
from PIL import Image

from gpvit.data.synthetic.photographs import load_photograph

PHOTOGRAPHS = {
    "train": ("china", "flower", "astronaut", "coins", "hubble", "retina", "rocket"),
    "test": ("camera", "cat", "coffee"),  # a gray one, a living being, things on a table
}
"""The photographs of each split, by name; which they are is part of what makes scenes repeatable."""

RASTER = 8  # pixels a side of the digits as they are stored
_PADDING = 2  # around them, for the interpolation to fade out in
_INK_LEVEL = 0.42  # ink above it is inside the outline: thin strokes hold together and loops stay open
_EDGE = 1.5  # pixels of the raster, over which its ink typically fades
_LARGEST_ANGLE = 25.0  # degrees; a 6 stays a 6
_LARGEST_OVERHANG = 0.25  # of the digit's size, beyond the scene's border
_LARGEST_ENLARGEMENT = 2.0  # of a photograph; what is enlarged more is blurred beyond recognition
_CONTRAST = 70.0  # of 255 levels of brightness, that ink should differ by from what is under it
_INK_COLOURS = 16  # tried, until one has this contrast
_BRIGHTNESS = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # of red, green and blue (ITU-R BT.601)


def random_background(split: str, size: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """Cut a random part out of a random photograph, mirror it or not, and give it the scene's size, `(H, W, 3)`."""
    height, width = size
    photograph = _photograph(PHOTOGRAPHS[split][random.integers(len(PHOTOGRAPHS[split]))])
    largest = min(photograph.width / width, photograph.height / height)
    smallest = min(1 / _LARGEST_ENLARGEMENT, largest)
    step = math.exp(random.uniform(math.log(smallest), math.log(largest)))  # pixels of the photograph for one of ours
    left = random.uniform(0, photograph.width - step * width)
    top = random.uniform(0, photograph.height - step * height)
    box = (left, top, min(left + step * width, photograph.width), min(top + step * height, photograph.height))
    part = photograph.resize((width, height), Image.Resampling.BICUBIC, box, reducing_gap=2.0)
    pixels = np.asarray(part, dtype=np.float32)
    return (pixels[:, ::-1] if random.random() < 0.5 else pixels).copy()


def place(
    raster: np.ndarray, size: tuple[int, int], digit_size: tuple[float, float], random: np.random.Generator
) -> tuple[np.ndarray, int]:
    """Draw one digit at a random place of an empty scene.

    Returns:
        Its opacity `(H, W)`, and how many pixels its ink has, those beyond the border too.
    """
    height = random.uniform(*digit_size)
    drawing = draw(raster, height, math.radians(random.uniform(-_LARGEST_ANGLE, _LARGEST_ANGLE)))
    ink = np.zeros(size, dtype=np.float32)
    inset = height * (0.5 - _LARGEST_OVERHANG)
    starts = [round(random.uniform(inset, side - inset) - len(drawing) / 2) for side in size]
    ends = [start + len(drawing) for start in starts]
    rows, columns = (slice(max(start, 0), max(end, 0)) for start, end in zip(starts, ends, strict=True))
    inside = drawing[max(-starts[0], 0) :, max(-starts[1], 0) :][: size[0] - rows.start, : size[1] - columns.start]
    ink[rows, columns] = inside
    return ink, int((drawing >= 0.5).sum())


def draw(raster: np.ndarray, height: float, angle: float) -> np.ndarray:
    """Draw a digit of a height in pixels, turned by an angle in radians, in the middle of a square: its opacity."""
    padded = np.pad(raster, _PADDING)
    step = RASTER / height  # pixels of the raster for one of ours
    side = math.ceil(height * (abs(math.sin(angle)) + math.cos(angle)) + 2 * _PADDING / step)
    across, down = step * math.cos(angle), step * math.sin(angle)
    middle = len(padded) / 2
    to_raster = (across, -down, middle - (across - down) * side / 2, down, across, middle - (across + down) * side / 2)
    enlarged = Image.fromarray(padded).transform(
        (side, side), Image.Transform.AFFINE, to_raster, Image.Resampling.BICUBIC
    )
    # Enlarged alone, the outline would be as soft as the raster is coarse; this one fades within about a pixel.
    ink = np.asarray(enlarged, dtype=np.float32) / 255
    return np.clip((ink - _INK_LEVEL) * _EDGE / step + 0.5, 0, 1)


def paint(image: np.ndarray, ink: np.ndarray, random: np.random.Generator) -> None:
    """Paint ink of a random colour over an image `(H, W, 3)`, in place; most of it is told from what it covers."""
    colours = random.uniform(0, 255, (_INK_COLOURS, 3)).astype(np.float32)
    covered = image[ink > 0] @ _BRIGHTNESS
    contrast = np.percentile(np.abs(colours @ _BRIGHTNESS - covered[:, None]), 25, axis=0)
    colour = colours[np.minimum(contrast, _CONTRAST).argmax()]  # the first that has enough, or else the best
    image += ink[..., None] * (colour - image)


@cache
def _photograph(name: str) -> Image.Image:
    return load_photograph(name)
