"""What the labels of a folder of masks mean: from a small YAML, or from the masks themselves."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

import numpy as np
import yaml

from gpvit.data.colors import Color, checked_colors
from gpvit.data.segmentation.masks import CLASSES_YAML, IGNORE, label_values, open_mask, read_mask
from gpvit.errors import UserError


@dataclass(frozen=True)
class MaskClasses:
    """The classes of a folder of masks, and how its files write them.

    Args:
        names: The classes in the order of their labels; or the name of each label, from 0 without a gap.
        colors: One RGB colour, 0 to 255, per class, to draw it in, and to read masks in RGB by; None if not known.
        ignore_index: The label in the files that is ignored.
        ignore_color: The colour in the files that is ignored.
        reduce_zero_label: Label 0 of the files is ignored, and the first class has label 1.

    Raises:
        UserError: A field holds something else.
    """

    names: tuple[str, ...]
    colors: tuple[Color, ...] | None = None
    ignore_index: int = IGNORE
    ignore_color: Color | None = None
    reduce_zero_label: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", _names(self.names))
        if self.colors is not None:
            object.__setattr__(self, "colors", checked_colors(self.colors, len(self.names)))
        if self.ignore_color is not None:
            object.__setattr__(self, "ignore_color", checked_colors([self.ignore_color], 1)[0])
        for name, kind in (("ignore_index", int), ("reduce_zero_label", bool)):
            if type(value := getattr(self, name)) is not kind:
                raise UserError(f"{name} {value!r}: give {'a label, as 255' if kind is int else 'true or false'}")

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
        UserError: The file is no YAML, or holds something else; the message names file and entry.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; it lists the classes:\n{CLASSES_YAML}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        known = [field.name for field in fields(MaskClasses)]
        if not isinstance(values, dict) or not {"names"} <= set(values) <= set(known):
            raise UserError(f"it holds {shortened(values)}; give 'names', and nothing but {', '.join(known)}")
        return MaskClasses(**values)
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise UserError(f"{path}: {error}. It should look like\n{CLASSES_YAML}") from error


def find_classes(masks: Sequence[Path]) -> MaskClasses:
    """Take the classes from the masks: named "0" to the largest label, in the colours of their palette.

    Every mask, an index or paletted PNG, is read once; a YAML file saves that. Label 255 is ignored.

    Raises:
        UserError: A mask is in RGB, or no label lies between 0 and 255.
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
            f"are found by labels from 0 to at most 254, at least two. Correct the masks, or write ROOT/classes.yaml:\n"
            f"{CLASSES_YAML}"
        )
    flat = (palette or [])[: 3 * (largest + 1)]
    colors = tuple((flat[start], flat[start + 1], flat[start + 2]) for start in range(0, len(flat) - 2, 3))
    known = len(set(colors)) == largest + 1
    return MaskClasses(tuple(map(str, range(largest + 1))), colors if known else None)


def _names(given: Any) -> tuple[str, ...]:
    if isinstance(given, dict) and set(given) == set(range(len(given))):
        given = [given[label] for label in range(len(given))]
    if not isinstance(given, list | tuple):
        raise UserError(
            f"names {given!r}; give a list, or a name for each label from 0 without a gap (where label 0 of the masks "
            "is no class, set reduce_zero_label: true)"
        )
    return tuple(map(str, given))
