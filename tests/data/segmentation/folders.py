"""Folders of pictures and masks, drawn for the tests."""

from pathlib import Path

import numpy as np
from PIL import Image

COLORS = ((200, 40, 40), (40, 180, 60), (50, 70, 210))


def draw_pair(seed: int, size: tuple[int, int] = (40, 56)) -> tuple[np.ndarray, np.ndarray]:
    """Draw a picture `(H, W, 3)` whose flat colours tell the classes, and its mask `(H, W)`, in part ignored."""
    generator = np.random.default_rng(seed)
    mask = np.zeros(size, np.uint8)
    for label in (1, 2):
        top, left = (generator.integers(side) for side in size)
        mask[top : top + 20, left : left + 25] = label
    picture = np.array(COLORS, np.uint8)[mask]
    mask[:2] = 255
    return picture, mask


def write_pairs(root: Path, train: int = 6, val: int = 3, **sizes: tuple[int, int]) -> Path:
    """Write `images/{train,val}` as PNG and `masks/{train,val}` as index PNG, the odd ones a folder deeper."""
    for split, count in (("train", train), ("val", val)):
        for index in range(count):
            name = f"{split}/{'deeper/' if index % 2 else ''}{index}.png"
            picture, mask = draw_pair(index + 100 * (split == "val"), **sizes)
            for kind, pixels in (("images", picture), ("masks", mask)):
                path = root / kind / name
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    return root


def write_mask(path: Path, mask: np.ndarray, colors: tuple[tuple[int, int, int], ...] | None = None) -> Path:
    """Write an index PNG, or a paletted one if colours are given."""
    image = Image.fromarray(mask)
    if colors is not None:
        image.putpalette([value for color in colors for value in color] + [0] * 3 * (256 - len(colors)))
    image.save(path)
    return path
