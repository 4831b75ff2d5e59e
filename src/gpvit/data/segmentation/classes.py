"""The classes of a folder of masks: named by a small YAML, or found in the masks themselves."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

import numpy as np

from gpvit.data.colors import Color, checked_colors
from gpvit.data.segmentation.masks import CLASSES_YAML, IGNORE, Palette, open_mask, read_mask, require_same_palette
from gpvit.errors import UserError
from gpvit.io import located
from gpvit.runtime.images import ImageError
from gpvit.yaml import read_yaml

_ENOUGH = 100  # masks whose palettes are compared before training


@dataclass(frozen=True)
class MaskClasses:
    """The classes of a folder of masks, and how its files write them.

    Args:
        names: The classes in the order of their labels; or the name of each label, from 0 without a gap.
        colors: One RGB colour, 0 to 255, per class, to draw it in, and by which masks in RGB or with a palette are
            read, and gray ones if all of these are gray; None if not known.
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
            if self.colors is None:
                raise UserError(f"ignore_color {self.ignore_color}: list 'colors', too, by which masks are then read")
            object.__setattr__(self, "ignore_color", checked_colors([self.ignore_color], 1)[0])
            if self.ignore_color in (self.colors or ()):
                raise UserError(f"ignore_color {list(self.ignore_color)} is the colour of a class, too; leave it out")
        for name, kind in (("ignore_index", int), ("reduce_zero_label", bool)):
            if type(value := getattr(self, name)) is not kind:
                raise UserError(f"{name} {value!r}: give {'a label, as 255' if kind is int else 'true or false'}")

    def read(self, path: Path, palette: Palette | None = None) -> np.ndarray:
        """Read a mask of the folder; `read_mask` says how.

        `palette` holds that of the masks before it, which must have the same one where its indices are the labels.
        """
        mask = open_mask(path)
        if palette is not None and self.colors is None:
            require_same_palette(mask, palette)
        rules = dict(vars(self))
        return read_mask(mask, len(rules.pop("names")), **rules)


def read_classes(path: str | Path) -> MaskClasses:
    """Read a YAML file with the fields of `MaskClasses`; all but `names` may be left out.

        names: [background, cat, dog]  # or {0: background, 1: cat, 2: dog}
        colors: [[0, 0, 0], [220, 60, 20], [40, 90, 200]]
        ignore_index: 255

    Names are texts as they are written: `no` and `08` are classes.

    Raises:
        FileNotFoundError: There is no such file.
        UserError: The file is no YAML, or holds something else; the message names file and entry.
    """
    path = located(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; it lists the classes:\n{CLASSES_YAML}")
    known = [field.name for field in fields(MaskClasses)]
    try:
        values = read_yaml(path)
        if not isinstance(values, dict) or not {"names"} <= set(values) <= set(known):
            raise UserError(f"it holds {shortened(values)}; give 'names', and nothing but {', '.join(known)}")
        return MaskClasses(**values)
    except (ValueError, TypeError, RecursionError) as error:
        message = str(error).removeprefix(f"{path}: ")
        raise UserError(f"{path}: {message}. It should look like\n{CLASSES_YAML}") from error


def find_classes(masks: Sequence[Path]) -> MaskClasses:
    """Take the classes from the masks: named "0" to the largest label, in the colours of their palette.

    Every mask is read once; a YAML file saves that. Label 255 is ignored.
    """
    found, palette = _examined(masks, len(masks))
    labels = sorted(found - {IGNORE})
    if not labels or not 1 <= labels[-1] < IGNORE or labels[0] < 0 or labels[-1] >= 2 * len(labels):
        raise UserError(
            f"the {len(masks)} masks, such as {masks[0]}, hold the labels {shortened(labels)}, apart from 255, which "
            "is ignored; classes are found by labels from 0 to at most 254, at least two, most of which occur. Correct "
            f"the masks, or write ROOT/classes.yaml:\n{CLASSES_YAML}"
        )
    count = labels[-1] + 1
    codes = [palette.get(label, (-1, ""))[0] for label in range(count)]
    colors = tuple((code >> 16, code >> 8 & 255, code & 255) for code in codes)
    return MaskClasses(tuple(map(str, range(count))), colors if len(set(codes) - {-1}) == count else None)


def check_masks(classes: MaskClasses, masks: Sequence[Path]) -> Palette:
    """Refuse masks whose values cannot be labels, though each of them might be; gives the palette that they share."""
    if classes.colors is not None or classes.ignore_index != IGNORE:
        return {}
    return _examined(masks, _ENOUGH, classes.names)[1]


def _examined(masks: Sequence[Path], enough: int, names: Sequence[str] = ()) -> tuple[set[int], Palette]:
    """Read masks until one holds other labels than 0 and 255 and, where they have palettes, until there are enough."""
    found: set[int] = set()
    palette: Palette = {}
    for number, path in enumerate(masks, start=1):
        try:
            mask = open_mask(path)
        except ImageError:  # told by whoever needs it
            if not names:
                raise
            continue
        found.update(map(int, mask.used()))
        require_same_palette(mask, palette)
        if found - {0, IGNORE} and number >= (enough if palette or not names else 1):
            break
    if found - {0} in ({IGNORE}, {65535}):
        listed = json.dumps(names if len(names) == 2 else ["background", "object"], ensure_ascii=False)
        raise UserError(
            f"the {len(masks)} masks, such as {masks[0]}, hold {' and '.join(map(str, sorted(found)))} only, so no "
            f"second class would be learned ({IGNORE} is ignored). If white is a class, say so in ROOT/classes.yaml:\n"
            f"  names: {listed}\n  colors: [[0, 0, 0], [255, 255, 255]]"
        )
    return found, palette


def _names(given: Any) -> tuple[str, ...]:
    if isinstance(given, dict):
        labelled = {int(key) if str(key).isdecimal() else key: name for key, name in given.items()}
        if set(labelled) == set(range(len(given))):
            given = [labelled[label] for label in range(len(given))]
    if not isinstance(given, list | tuple) or not all(
        isinstance(name, str | int) and not isinstance(name, bool) and str(name).strip() for name in given
    ):
        raise UserError(
            f"names {shortened(given)}; give a list of texts, or a name for each label from 0 without a gap (where "
            "label 0 of the masks is no class, set reduce_zero_label: true)"
        )
    if len(names := tuple(map(str, given))) < 2 or len(set(names)) < len(names):
        raise UserError(f"names {list(names)}: give 2 or more, each once")
    return names
