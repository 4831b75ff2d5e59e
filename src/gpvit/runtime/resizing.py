"""Sizes that images are fitted to, and bilinear resizing equal to torch's: of floats, bytes, and logits to label maps.

Corners are not aligned, and nothing is antialiased. Shape letters: K classes, h w grid, H W image size, C channels.
"""

import math
from collections.abc import Sequence

import numpy as np

Size = tuple[int, int]
"""Height and width, in pixels."""

_TILE_VALUES = 2**20  # logits of a tile of a label map, 4 MB


def fitted_size(size: Size, limits: Sequence[int] | None, scale: float = 1.0) -> Size:
    """Scale a size, keeping its shape, to the largest that fits a long and a short side, if given; then by a factor.

    code: mmcv rounds halves up; no side is shorter than a pixel.
    """
    if limits is not None:
        scale *= min(limits[0] / max(size), limits[1] / min(size))
    height, width = (max(int(side * scale + 0.5), 1) for side in size)
    return height, width


def rounded_up(size: Size, divisor: int) -> Size:
    """Enlarge both sides to multiples of a divisor."""
    return -(-size[0] // divisor) * divisor, -(-size[1] // divisor) * divisor


def neighbours(length: int, new_length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return, for each place of the output, the source's place below it and above it, and the share of the latter."""
    # torch rounds the scale to float32, and then once more after multiplying and subtracting in one step
    scale = float(np.float32(length / new_length))
    centre = np.clip(((np.arange(new_length) + 0.5) * scale - 0.5).astype(np.float32), 0, length - 1)
    lower = centre.astype(np.int64)
    return lower, np.minimum(lower + 1, length - 1), centre - lower.astype(np.float32)


def resize(maps: np.ndarray, size: Size) -> np.ndarray:
    """Resize float32 maps ``(C, h, w)`` to ``(C, H, W)``."""
    lower, upper, share = neighbours(maps.shape[1], size[0])
    tall = maps[:, lower] * (1 - share)[:, None] + maps[:, upper] * share[:, None]
    lower, upper, share = neighbours(maps.shape[2], size[1])
    return tall[..., lower] * (1 - share) + tall[..., upper] * share


def resize_bytes(pixels: np.ndarray, size: Size) -> np.ndarray:
    """Resize uint8 pixels ``(h, w, C)`` to ``(H, W, C)``, first along the rows, rounding after each side.

    The shares are whole numbers of 14 or 15 bits, as those of torch on CPUs with vector instructions are.
    """
    return _resize_bytes(_resize_bytes(pixels, size[1], axis=1), size[0], axis=0)


def _resize_bytes(pixels: np.ndarray, new_length: int, axis: int) -> np.ndarray:
    length = pixels.shape[axis]
    if length == new_length:
        return pixels
    scale = length / new_length
    centre = np.maximum((np.arange(new_length) + 0.5) * scale - 0.5, 0)
    lower = np.minimum(centre.astype(np.int64), length - 1)
    share = np.clip(centre - lower, 0, 1)
    shares = np.stack([1 - share, share])
    bits = 14 if round(shares.max() * 2**15) >= 2**15 else 15
    below, above = np.floor(shares * 2**bits + 0.5).astype(np.int32)
    along = (-1, 1, 1) if axis == 0 else (-1, 1)
    first = pixels.take(lower, axis).astype(np.int32) * below.reshape(along)
    second = pixels.take(np.minimum(lower + 1, length - 1), axis).astype(np.int32) * above.reshape(along)
    return ((first + second + 2 ** (bits - 1)) >> bits).astype(np.uint8)


def label_map(logits: np.ndarray, middle: tuple[int, int], size: Size) -> np.ndarray:
    """Find the most probable class of each pixel of logits ``(K, h, w)``, resized to `middle` and then to ``(H, W)``.

    Returns:
        ``(H, W)``, uint8 for at most 255 classes, else int32. The logits of all pixels are never held together.
    """
    labels = np.empty(size, np.uint8 if len(logits) <= 255 else np.int32)
    step = max(1, math.isqrt(_TILE_VALUES // len(logits)))
    down, across = (_shares(logits.shape[1 + axis], middle[axis], size[axis]) for axis in (0, 1))
    for top in range(0, size[0], step):
        rows, first, last = _needed(down[top : top + step])
        band = logits[:, first:last]
        for left in range(0, size[1], step):
            columns, start, stop = _needed(across[left : left + step])
            scores = rows @ band[..., start:stop] @ columns.T
            labels[top : top + step, left : left + step] = scores.argmax(0)
    return labels


def _shares(length: int, middle: int, new_length: int) -> np.ndarray:
    """Return how much each of ``length`` places weighs in each of the output, ``(new_length, length)``."""
    shares = np.eye(length, dtype=np.float32)
    for longer in (middle, new_length):
        if longer != len(shares):
            lower, upper, share = neighbours(len(shares), longer)
            shares = shares[lower] * (1 - share)[:, None] + shares[upper] * share[:, None]
    return shares


def _needed(shares: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Cut off the places that weigh nothing; give the first and the last that is left as well, the latter exclusive."""
    used = np.flatnonzero(shares.any(0))
    first, last = int(used[0]), int(used[-1]) + 1
    return np.ascontiguousarray(shares[:, first:last]), first, last
