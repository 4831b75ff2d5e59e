"""Colours that are told apart at a glance, as many as one needs."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from gpvit.errors import UserError

Color = tuple[int, int, int]

_LEVELS = 18  # per channel, of the colours chosen among
_LIGHTNESS = (32.0, 88.0)  # of CIELAB: visible on white paper and over a photograph
_CHROMA = (24.0, 78.0)  # grays would be taken for the image, neon for a mistake
_FIRST = (0.12, 0.47, 0.71)


@cache
def distinct_colours(count: int) -> tuple[tuple[float, float, float], ...]:
    """Choose RGB colours in [0, 1], each as far as can be from all before it, in CIELAB.

    The first colours of a longer list are those of a shorter one.
    """
    from skimage.color import rgb2lab  # slow to load, and needed only where colours are chosen

    levels = np.linspace(0, 1, _LEVELS)
    candidates = np.concatenate([[_FIRST], np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 3)])
    lab = rgb2lab(candidates)
    allowed = np.ones(len(lab), bool)
    for values, (least, most) in ((lab[:, 0], _LIGHTNESS), (np.hypot(lab[:, 1], lab[:, 2]), _CHROMA)):
        allowed &= (values >= least) & (values <= most)
    candidates, lab = candidates[allowed], lab[allowed]
    chosen = [0]
    distance = np.full(len(lab), np.inf)
    while len(chosen) < count:
        distance = np.minimum(distance, np.linalg.norm(lab - lab[chosen[-1]], axis=1))
        chosen.append(int(distance.argmax()))
    return tuple(map(tuple, candidates[chosen[:count]].tolist()))


def class_colors(count: int) -> tuple[Color, ...]:
    """Choose the same colours with red, green and blue from 0 to 255, one for each class."""
    return tuple((round(255 * r), round(255 * g), round(255 * b)) for r, g, b in distinct_colours(count))


def checked_colors(colors: Sequence[Any], count: int) -> tuple[Color, ...]:
    """Check that a user gave `count` colours, each once; UserError says what is wrong."""
    for color in colors:
        if np.shape(color) != (3,) or not all(type(value) is int and 0 <= value <= 255 for value in color):
            raise UserError(f"colour {color!r}; give [red, green, blue], each from 0 to 255")
    if len(colors) != count:
        raise UserError(f"{len(colors)} colours for {count} classes; give one to each")
    if len(set(map(tuple, colors))) < count:
        raise UserError("a colour stands twice in 'colors'; give each class one of its own")
    return tuple((red, green, blue) for red, green, blue in colors)
