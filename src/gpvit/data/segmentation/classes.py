"""What the labels of a folder of masks mean: from a small YAML, or from the masks themselves."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from gpvit.data.segmentation.masks import IGNORE, label_values, open_mask, read_mask
from gpvit.errors import UserError

Color = tuple[int, int, int]


@dataclass(frozen=True)
class MaskClasses:
    """The classes of a folder of masks, and how its files write them.

    Args:
        names: The classes in the order of their labels.
        colors: One RGB colour, 0 to 255, per class, to draw it in, and to read masks in RGB by; None if not known.
        ignore_index: The label in the files that is ignored.
        ignore_color: The colour in the files that is ignored.
        reduce_zero_label: Label 0 of the files is ignored, and the first class has label 1.
    """

    names: tuple[str, ...]
    colors: tuple[Color, ...] | None = None
    ignore_index: int = IGNORE
    ignore_color: Color | None = None
    reduce_zero_label: bool = False

    def read(self, path: Path) -> np.ndarray:
        """Read a mask of the folder; `read_mask` says how."""
        return read_mask(
            path,
            len(self.names),
            colors=self.colors,
            ignore_index=self.ignore_index,
            ignore_color=self.ignore_color,
            reduce_zero_label=self.reduce_zero_label,
        )


def read_classes(path: Path) -> MaskClasses:
    """Read a YAML file with the fields of `MaskClasses`; all but `names` may be left out.

        names: [background, cat, dog]  # or {0: background, 1: cat, 2: dog}
        colors: [[0, 0, 0], [220, 60, 20], [40, 90, 200]]
        ignore_index: 255

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no YAML, or holds something else; the message names file and entry.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; it lists the classes, as 'names: [background, cat, dog]'")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no valid YAML ({error}); correct it") from error
    known = [field.name for field in fields(MaskClasses)]
    if not isinstance(values, dict) or "names" not in values or set(values) - set(known):
        given = sorted(map(str, values)) if isinstance(values, dict) else type(values).__name__
        raise UserError(f"{path} holds {given}; give 'names', and nothing but {', '.join(known)}")
    values["names"] = _names(values["names"], path)
    if values.get("colors") is not None:
        values["colors"] = tuple(_color(color, path) for color in values["colors"])
        if len(values["colors"]) != len(values["names"]):
            raise UserError(
                f"{path}: {len(values['colors'])} colours for {len(values['names'])} names; give one to each"
            )
        if len(set(values["colors"])) != len(values["colors"]):
            raise UserError(f"{path}: a colour stands twice in 'colors'; give each class one of its own")
    if values.get("ignore_color") is not None:
        values["ignore_color"] = _color(values["ignore_color"], path)
    if not isinstance(values.get("ignore_index", IGNORE), int):
        raise UserError(f"{path}: ignore_index {values['ignore_index']!r}; give the label that is ignored, as 255")
    return MaskClasses(**values)


def find_classes(masks: Sequence[Path]) -> MaskClasses:
    """Take the classes from the masks: named "0" to the largest label, in the colours of their palette.

    Every mask is read once; a YAML file saves that.

    Args:
        masks: Files of index or paletted PNG; label 255 is ignored.

    Raises:
        ValueError: A mask is in RGB, or no label lies between 0 and 255.
    """
    largest, palette = -1, None
    for path in masks:
        name, image = open_mask(path)
        labels = label_values(image, name)
        largest = max(largest, int(labels.max(where=labels != IGNORE, initial=-1)))
        palette = palette or image.getpalette()
    if not 1 <= largest < IGNORE:
        raise UserError(
            f"the {len(masks)} masks, as {masks[0]}, hold labels up to {largest}, 255 aside, which is ignored; classes "
            "are found by labels from 0 to at most 254, at least two. Write a classes.yaml, or correct the masks"
        )
    flat = (palette or [])[: 3 * (largest + 1)]
    colors = tuple((flat[start], flat[start + 1], flat[start + 2]) for start in range(0, len(flat) - 2, 3))
    distinct = len(set(colors)) == largest + 1
    return MaskClasses(tuple(str(label) for label in range(largest + 1)), colors if distinct else None)


def _names(given: Any, path: Path) -> tuple[str, ...]:
    if isinstance(given, dict):
        if sorted(given, key=str) != sorted(range(len(given)), key=str):
            raise UserError(
                f"{path}: names have the labels {list(given)}; number them from 0 to {len(given) - 1} without a gap "
                "(where label 0 of the masks is no class, set reduce_zero_label: true)"
            )
        given = [given[label] for label in range(len(given))]
    if not isinstance(given, list):
        raise UserError(f"{path}: names {given!r}; give a list, or a name for each label")
    return tuple(str(name) for name in given)


def _color(given: Any, path: Path) -> Color:
    if (
        not isinstance(given, list)
        or len(given) != 3
        or not all(isinstance(value, int) and 0 <= value <= 255 for value in given)
    ):
        raise UserError(f"{path}: colour {given!r}; give [red, green, blue], each from 0 to 255")
    return given[0], given[1], given[2]
