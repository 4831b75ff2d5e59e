"""Real handwritten digits on real photographs: endless scenes to segment and to detect in, without a download."""

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from PIL import Image

from gpvit.data.digits import digits_split
from gpvit.data.photographs import load_photograph

PHOTOGRAPHS = {
    "train": ("china", "flower", "astronaut", "coins", "hubble", "retina", "rocket"),
    "test": ("camera", "cat", "coffee"),  # a gray one, a living being, things on a table
}
"""The photographs of each split, by name; which they are is part of what makes scenes repeatable."""

LEAST_VISIBLE = 0.25
"""A digit of which less would show is not drawn at all."""

_RASTER = 8  # pixels a side of the digits as they are stored
_PADDING = 2  # around them, for the interpolation to fade out in
_INK_LEVEL = 0.42  # ink above it is inside the outline: thin strokes hold together and loops stay open
_EDGE = 1.5  # pixels of the raster, over which its ink typically fades
_LARGEST_ANGLE = 25.0  # degrees; a 6 stays a 6
_LARGEST_OVERHANG = 0.25  # of the digit's size, beyond the scene's border
_LARGEST_ENLARGEMENT = 2.0  # of a photograph; what is enlarged more is blurred beyond recognition
_CONTRAST = 70.0  # of 255 levels of brightness, that ink should differ by from what is under it
_INK_COLOURS = 16  # tried, until one has this contrast
_BRIGHTNESS = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # of red, green and blue (ITU-R BT.601)


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture with everything that is known about the N digits in it, those on top first.

    Attributes:
        image: `(H, W, 3)`, uint8, RGB.
        labels: `(H, W)`, uint8: 0 for the background, 1 + digit for its ink.
        masks: `(N, H, W)`, bool: the ink of each digit that shows. No two overlap.
        boxes: `(N, 4)`, float32: left, top, right and bottom around each mask in pixels, right and bottom exclusive.
        digits: `(N,)`, int64: which digit each is, 0 to 9.
        visible: `(N,)`, float32: the part of each digit's ink that shows; the rest is beneath other digits or beyond
            the border.
    """

    image: np.ndarray
    labels: np.ndarray
    masks: np.ndarray
    boxes: np.ndarray
    digits: np.ndarray
    visible: np.ndarray


def digit_scene(
    split: Literal["train", "test"],
    index: int,
    seed: int = 0,
    size: tuple[int, int] = (128, 128),
    digits: tuple[int, int] = (2, 8),
    digit_size: tuple[float, float] = (10, 60),
) -> Scene:
    """Draw one scene; the same arguments draw the same scene, whatever was drawn before and wherever.

    Digits and photographs of the splits are different ones. Every digit has a size, an angle, a place and a colour of
    its own, and lies beneath those before it.

    Args:
        split: "train" or "test".
        index: Number of the scene, 0 or more.
        seed: Another seed gives other scenes, 0 or more.
        size: Height and width of the scene in pixels.
        digits: Fewest and most digits that are tried. Of those, one that would show less than `LEAST_VISIBLE` is left
            out, so a scene may hold fewer; it holds at least one.
        digit_size: Smallest and largest height of an upright digit in pixels; sizes in between are equally likely.

    Raises:
        ValueError: There is no such split, or the numbers leave nothing to draw.

    Example:
        >>> digit_scene("test", 0).image.shape
        (128, 128, 3)
    """
    _check(split, index, seed, size, digits, digit_size)
    random = np.random.default_rng([seed, ("train", "test").index(split), index])
    image = _background(split, size, random)
    rasters, names = digits_split(split)
    chosen = random.integers(len(rasters), size=random.integers(digits[0], digits[1], endpoint=True))

    hidden = np.zeros(size, dtype=bool)
    drawn, masks, visible = [], [], []
    for digit in chosen:
        ink, area = _place(rasters[digit], size, digit_size, random)
        outline = ink >= 0.5
        mask = outline & ~hidden
        part = mask.sum() / area
        if part >= LEAST_VISIBLE:
            hidden |= outline
            drawn.append((digit, ink))
            masks.append(mask)
            visible.append(part)

    for _, ink in reversed(drawn):
        _paint(image, ink, random)
    numbers = np.array([names[digit] for digit, _ in drawn], dtype=np.int64)
    labels = np.zeros(size, dtype=np.uint8)
    for number, mask in zip(numbers, masks, strict=True):
        labels[mask] = 1 + number
    boxes = np.array([_box(mask) for mask in masks], dtype=np.float32)
    return Scene(
        np.rint(image).astype(np.uint8), labels, np.stack(masks), boxes, numbers, np.array(visible, dtype=np.float32)
    )


def _check(
    split: str, index: int, seed: int, size: tuple[int, int], digits: tuple[int, int], digit_size: tuple[float, float]
) -> None:
    if split not in PHOTOGRAPHS:
        raise ValueError(f"split {split!r}: choose 'train' or 'test'")
    if index < 0 or seed < 0:
        raise ValueError(f"index {index} and seed {seed}: give 0 or more")
    if not 1 <= digits[0] <= digits[1]:
        raise ValueError(f"digits {digits}: give a fewest and a most, 1 or more, in this order")
    if not _RASTER <= digit_size[0] <= digit_size[1] <= min(size):
        raise ValueError(
            f"digit_size {digit_size}: give a smallest and a largest height in this order, from {_RASTER} pixels, "
            f"which the digits are stored with, to {min(size)}, the smaller side of the scene"
        )


def _background(split: str, size: tuple[int, int], random: np.random.Generator) -> np.ndarray:
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


def _place(
    raster: np.ndarray, size: tuple[int, int], digit_size: tuple[float, float], random: np.random.Generator
) -> tuple[np.ndarray, int]:
    """Draw one digit at a random place of an empty scene.

    Returns:
        Its opacity `(H, W)`, and how many pixels its ink has, those beyond the border too.
    """
    height = random.uniform(*digit_size)
    drawing = _draw(raster, height, math.radians(random.uniform(-_LARGEST_ANGLE, _LARGEST_ANGLE)))
    ink = np.zeros(size, dtype=np.float32)
    inset = height * (0.5 - _LARGEST_OVERHANG)
    starts = [round(random.uniform(inset, side - inset) - len(drawing) / 2) for side in size]
    ends = [start + len(drawing) for start in starts]
    rows, columns = (slice(max(start, 0), max(end, 0)) for start, end in zip(starts, ends, strict=True))
    inside = drawing[max(-starts[0], 0) :, max(-starts[1], 0) :][: size[0] - rows.start, : size[1] - columns.start]
    ink[rows, columns] = inside
    return ink, int((drawing >= 0.5).sum())


def _draw(raster: np.ndarray, height: float, angle: float) -> np.ndarray:
    """Draw a digit of a height in pixels, turned by an angle in radians, in the middle of a square: its opacity."""
    padded = np.pad(raster, _PADDING)
    step = _RASTER / height  # pixels of the raster for one of ours
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


def _paint(image: np.ndarray, ink: np.ndarray, random: np.random.Generator) -> None:
    """Paint ink of a random colour over an image `(H, W, 3)`, in place; most of it is told from what it covers."""
    colours = random.uniform(0, 255, (_INK_COLOURS, 3)).astype(np.float32)
    covered = image[ink > 0] @ _BRIGHTNESS
    contrast = np.percentile(np.abs(colours @ _BRIGHTNESS - covered[:, None]), 25, axis=0)
    colour = colours[np.minimum(contrast, _CONTRAST).argmax()]  # the first that has enough, or else the best
    image += ink[..., None] * (colour - image)


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


@cache
def _photograph(name: str) -> Image.Image:
    return load_photograph(name)
