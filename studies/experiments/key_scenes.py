"""Scenes that cannot be understood locally: a framed digit in a corner says which of the others are to be labelled."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from gpvit.data.segmentation.scenes import DrawnScenes, SceneData
from gpvit.data.synthetic.digits import digits_split
from gpvit.data.synthetic.render import draw, paint, place, random_background
from gpvit.errors import UserError

FRAME = 28
"""Side of the framed corner in pixels, its frame included."""

_BORDER = 3  # pixels of the frame
_KEY_HEIGHT = 18.0  # of the digit in the frame, upright
_PAPER, _INK = 240.0, 15.0  # brightness inside the frame, of the paper and of the key
_GAP = 2  # pixels that digits keep from each other and from the frame
_TRIES = 60  # places drawn for each digit before it is left out


class KeyScenes(SceneData):
    """Scenes of `key_scene` with 11 classes: the ink of each digit where it is the key or equals it, and all else.

    Training and validation share neither digits nor photographs.

    Args:
        image_size: Height and width of a scene in pixels, a multiple of 32.
        train_scenes: Scenes to train on in an epoch.
        test_scenes: Scenes to validate and test with.
        digits: Fewest and most digits outside of the frame.
        kinds: Which digits there are, two or more; fewer are learned in less time.
        seed: Another seed gives other scenes, of training and of validation.
        batch_size: Scenes per batch and process.
        num_workers: Loader processes; 0 draws in the training process, which takes some 6 ms a scene.

    Raises:
        ValueError: `image_size` is no multiple of 32, or there is nothing to train on or to test with.
    """

    def __init__(
        self,
        image_size: int = 128,
        train_scenes: int = 6400,
        test_scenes: int = 300,
        digits: tuple[int, int] = (4, 8),
        kinds: tuple[int, ...] = tuple(range(10)),
        seed: int = 0,
        batch_size: int = 16,
        num_workers: int = 0,
    ) -> None:
        super().__init__("other", image_size, train_scenes, test_scenes, batch_size, num_workers)
        self.kinds = kinds
        size = (image_size, image_size)
        self._draw = partial(key_scene, seed=seed, size=size, digits=(digits[0], digits[1]), kinds=tuple(kinds))

    def scene(self, split: Literal["train", "val"], index: int) -> "KeyScene":
        """Draw a scene, with everything that is known about it."""
        return self.samples(split).draw(index)

    def samples(self, split: Literal["train", "val"]) -> DrawnScenes:
        """Give the scenes of one part; they hold plain values alone, so that any worker process can draw them."""
        drawn_from = "train" if split == "train" else "test"
        return DrawnScenes(f"keys_{drawn_from}", self.num_scenes[split], partial(self._draw, drawn_from))


@dataclass(frozen=True, eq=False)
class KeyScene:
    """An image with a key, and the digits that equal it or do not.

    Attributes:
        image: `(H, W, 3)`, uint8, RGB.
        labels: `(H, W)`, uint8: 1 + digit for the ink of the key and of the digits equal to it, 0 for all else.
        corner: `(H, W)`, bool: the framed corner.
        masks: `(N, H, W)`, bool: the ink of each digit outside of the frame. No two touch.
        digits: `(N,)`, int64: which digit each is, 0 to 9.
        key: The digit in the frame.
        distances: `(N,)`, float32: pixels between the middle of each digit's box and the middle of the frame.
    """

    image: np.ndarray
    labels: np.ndarray
    corner: np.ndarray
    masks: np.ndarray
    digits: np.ndarray
    key: int
    distances: np.ndarray

    @property
    def targets(self) -> np.ndarray:
        """Tell which of the digits equal the key, `(N,)`, bool."""
        return np.asarray(self.digits == self.key)


def key_scene(
    split: Literal["train", "test"],
    index: int,
    seed: int = 0,
    size: tuple[int, int] = (128, 128),
    digits: tuple[int, int] = (4, 8),
    digit_size: tuple[float, float] = (16, 32),
    kinds: tuple[int, ...] = tuple(range(10)),
) -> KeyScene:
    """Draw one scene; the same arguments draw the same scene, whatever was drawn before and wherever.

    Outside of the frame there are two kinds of digit, taken in turns: some equal the key, in other handwritings, the
    rest all equal another digit. Nothing but the key tells which kind is to be labelled.

    Args:
        split: "train" or "test", which share neither digits nor photographs.
        index: Number of the scene, 0 or more.
        seed: Another seed gives other scenes, 0 or more.
        size: Height and width of the scene in pixels.
        digits: Fewest and most digits outside of the frame that are tried; what finds no free place is left out.
        digit_size: Smallest and largest height of an upright digit in pixels.
        kinds: Which digits there are, two or more.

    Raises:
        ValueError: If the scene is too small for its frame and one digit, or there are no two kinds of digit.

    Example:
        >>> scene = key_scene("test", 0)
        >>> bool(scene.targets.any()), scene.image.shape
        (True, (128, 128, 3))
    """
    if min(size) < FRAME + 2 * digit_size[1]:
        raise UserError(f"size {size}: a side needs {FRAME} pixels for the frame and two digits of {digit_size[1]}")
    if len(set(kinds)) < 2 or not set(kinds) <= set(range(10)):
        raise UserError(f"kinds {kinds}: give two or more different digits, from 0 to 9")
    random = np.random.default_rng([seed, ("train", "test").index(split), index, 1])
    image = random_background(split, size, random)
    rasters, names = digits_split(split)
    key, rival = (int(digit) for digit in random.permutation(kinds)[:2])
    turns = random.permutation([key, rival])
    corner = np.zeros(size, dtype=bool)
    written = int(random.choice(np.flatnonzero(names == key)))
    key_place, key_ink = _draw_key(image, rasters[written], random)
    corner[key_place] = True

    taken = corner.copy()
    masks, numbers = [], []
    for i in range(random.integers(digits[0], digits[1], endpoint=True)):
        candidates = np.flatnonzero(names == turns[i % 2])
        chosen = random.choice(candidates[candidates != written])
        if (ink := _free_place(rasters[chosen], taken, digit_size, random)) is None:
            continue
        paint(image, ink, random)
        masks.append(ink >= 0.5)
        numbers.append(names[chosen])
        rows, columns = _box(ink > 0)
        taken[max(rows[0] - _GAP, 0) : rows[1] + _GAP, max(columns[0] - _GAP, 0) : columns[1] + _GAP] = True

    labels = np.zeros(size, dtype=np.uint8)
    labels[key_place] = (1 + key) * key_ink
    for number, mask in zip(numbers, masks, strict=True):
        labels[mask] = (1 + key) * (number == key)
    stacked = np.stack(masks) if masks else np.zeros((0, *size), dtype=bool)
    middles = np.array([np.mean(_box(mask), axis=1) for mask in masks]).reshape(-1, 2)
    distances = np.hypot(*(middles - np.mean(_box(corner), axis=1)).T).astype(np.float32)
    pixels = np.rint(image).astype(np.uint8)
    return KeyScene(pixels, labels, corner, stacked, np.array(numbers, dtype=np.int64), key, distances)


def _draw_key(
    image: np.ndarray, raster: np.ndarray, random: np.random.Generator
) -> tuple[tuple[slice, slice], np.ndarray]:
    """Draw the framed key into a random corner of an image `(H, W, 3)`, in place; return the corner and its ink."""
    height, width = image.shape[:2]
    top, left = random.integers(2) * (height - FRAME), random.integers(2) * (width - FRAME)
    corner = slice(top, top + FRAME), slice(left, left + FRAME)
    paper = np.full((FRAME, FRAME), _INK)
    paper[_BORDER:-_BORDER, _BORDER:-_BORDER] = _PAPER
    ink = draw(raster, _KEY_HEIGHT, 0.0)
    start = (FRAME - len(ink)) // 2
    inside = slice(start, start + len(ink))
    paper[inside, inside] += ink * (_INK - paper[inside, inside])
    image[corner] = paper[..., None]
    outline = np.zeros(paper.shape, dtype=bool)
    outline[inside, inside] = ink >= 0.5
    return corner, outline


def _free_place(
    raster: np.ndarray, taken: np.ndarray, digit_size: tuple[float, float], random: np.random.Generator
) -> np.ndarray | None:
    """Draw one digit where nothing is yet, wholly inside: its opacity `(H, W)`, or None if no place was found."""
    for _ in range(_TRIES):
        ink, area = place(raster, taken.shape, digit_size, random)
        if (ink >= 0.5).sum() == area and not (taken & (ink > 0)).any():
            return ink
    return None


def _box(mask: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the first row and the one after the last, and the same of the columns."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (int(rows[0]), int(rows[-1]) + 1), (int(columns[0]), int(columns[-1]) + 1)
