"""Real handwritten digits on real photographs: endless scenes to segment and to detect in, without a download."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torchvision.ops import masks_to_boxes

from gpvit.data.synthetic.digits import digits_split
from gpvit.data.synthetic.render import PHOTOGRAPHS, RASTER, paint, place, random_background
from gpvit.errors import UserError

LEAST_VISIBLE = 0.25
"""A digit of which less would show is not drawn at all."""


@dataclass(frozen=True, eq=False)
class Scene:
    """An image with everything that is known about the N digits in it, those on top first.

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
    if split not in PHOTOGRAPHS:
        raise UserError(f"split {split!r}: choose 'train' or 'test'")
    if index < 0 or seed < 0:
        raise UserError(f"index {index} and seed {seed}: give 0 or more")
    if not 1 <= digits[0] <= digits[1]:
        raise UserError(f"digits {digits}: give a fewest and a most, 1 or more, in this order")
    if not RASTER <= digit_size[0] <= digit_size[1] <= min(size):
        raise UserError(f"digit_size {digit_size}: give heights in this order, from {RASTER} pixels to {min(size)}")
    random = np.random.default_rng([seed, ("train", "test").index(split), index])
    image = random_background(split, size, random)
    rasters, names = digits_split(split)
    chosen = random.integers(len(rasters), size=random.integers(digits[0], digits[1], endpoint=True))

    hidden = np.zeros(size, dtype=bool)
    drawn, masks, visible = [], [], []
    for digit in chosen:
        ink, area = place(rasters[digit], size, digit_size, random)
        outline = ink >= 0.5
        mask = outline & ~hidden
        part = mask.sum() / area
        if part >= LEAST_VISIBLE:
            hidden |= outline
            drawn.append((digit, ink))
            masks.append(mask)
            visible.append(part)

    for _, ink in reversed(drawn):
        paint(image, ink, random)
    numbers = np.array([names[digit] for digit, _ in drawn], dtype=np.int64)
    labels = np.zeros(size, dtype=np.uint8)
    for number, mask in zip(numbers, masks, strict=True):
        labels[mask] = 1 + number
    boxes = masks_to_boxes(torch.from_numpy(np.stack(masks))).numpy() + np.array([0, 0, 1, 1], dtype=np.float32)
    image = np.rint(image).astype(np.uint8)
    return Scene(image, labels, np.stack(masks), boxes, numbers, np.array(visible, dtype=np.float32))
