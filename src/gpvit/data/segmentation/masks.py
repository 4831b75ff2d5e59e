"""Masks as label maps, whatever wrote the file: classes count from 0, 255 is ignored, and a small YAML names them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

import numpy as np
import yaml
from PIL import Image

from gpvit.data.colors import Color, checked_colors
from gpvit.data.images import ImageError
from gpvit.errors import UserError

IGNORE = 255  # the label of pixels that no loss and no score counts
_SHOWN = 5  # labels named in a message
_CODE = np.array([1 << 16, 1 << 8, 1], np.int32)  # times a colour, a number of its own
CLASSES_YAML = """  names: [background, cat, dog]
  colors: [[0, 0, 0], [220, 60, 20], [40, 90, 200]]
  ignore_index: 255"""


def read_mask(
    source: str | Path | Image.Image,
    num_classes: int,
    *,
    colors: Sequence[Sequence[int]] | None = None,
    ignore_index: int = IGNORE,
    ignore_color: Sequence[int] | None = None,
    reduce_zero_label: bool = False,
) -> np.ndarray:
    """Read a mask as the class of each pixel.

    Args:
        source: An index PNG of 8 or 16 bits, a paletted one, whose indices are the labels, or a mask in RGB, whose
            colours are; a path or an open PIL image.
        num_classes: How many classes there are, at most 255.
        colors: The colour of each class, which a mask in RGB needs.
        ignore_index: The label in the file that is ignored.
        ignore_color: The colour in the file that is ignored.
        reduce_zero_label: Label 0 of the file is ignored and label 1 is class 0, as ADE20K writes it; a mask in RGB
            is read by its colours alone.

    Returns:
        Labels `(H, W)`, uint8: classes from 0, and 255 where the file's label is ignored.

    Raises:
        FileNotFoundError: The path does not exist.
        ImageError: The file is no image, or is damaged.
        UserError: A label or a colour belongs to no class; the message names file, value and remedy.

    Example:
        >>> read_mask(Image.fromarray(np.array([[0, 2], [255, 1]], np.uint8)), num_classes=3).tolist()
        [[0, 2], [255, 1]]
    """
    name, image = _open(source)
    if image.mode in ("RGB", "RGBA"):
        return _labels_of_colors(np.asarray(image.convert("RGB")), name, colors, ignore_color)
    labels = _label_values(image, name)
    ignored = labels == ignore_index
    if reduce_zero_label:
        ignored |= labels == 0
        labels -= 1
    outside = ~ignored & ((labels < 0) | (labels >= num_classes))
    if outside.any():
        first = int(reduce_zero_label)
        found = [int(label) + first for label in np.unique(labels[outside])]
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise UserError(
            f"{name}: label {', '.join(map(str, found[:_SHOWN]))}{more} ({int(outside.sum())} pixels) lies outside the "
            f"{num_classes} classes; allowed are {first} to {num_classes - 1 + first}, and {ignore_index}, which is "
            f"ignored. Complete the list of classes, correct the mask, or set ignore_index to a label to ignore it"
        )
    labels[ignored] = IGNORE
    return labels.astype(np.uint8)


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
        rules = dict(vars(self))
        return read_mask(path, len(rules.pop("names")), **rules)


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
    """
    largest, palette = -1, None
    for path in masks:
        name, image = _open(path)
        labels = _label_values(image, name)
        largest = max(largest, int(labels.max(where=labels != IGNORE, initial=-1)))
        palette = palette or image.getpalette()
    if not 1 <= largest < IGNORE:
        raise UserError(
            f"the {len(masks)} masks, as {masks[0]}, hold labels up to {largest}, 255 aside, which is ignored; classes "
            f"are found by labels from 0 to at most 254, at least two. Correct the masks, or write ROOT/classes.yaml:\n"
            f"{CLASSES_YAML}"
        )
    flat, count = palette or [], largest + 1
    colors = tuple(zip(flat[0::3], flat[1::3], flat[2::3], strict=False))[:count]
    return MaskClasses(tuple(map(str, range(count))), colors if len(set(colors)) == count else None)


def _open(source: str | Path | Image.Image) -> tuple[str, Image.Image]:
    """Give a mask's name for messages and its decoded image, labels untouched."""
    if isinstance(source, Image.Image):
        return getattr(source, "filename", "") or f"PIL image of mode {source.mode}", source
    path = Path(source).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such mask; check the path (relative to {Path.cwd()})")
    try:
        with Image.open(path) as image:
            image.load()
    except Exception as error:  # on damaged bytes Pillow's decoders raise nearly anything
        raise ImageError(
            f"{path} is no image or damaged ({error}); fetch it again, or remove it with its image"
        ) from error
    if image.format in ("JPEG", "MPO"):
        raise UserError(f"{path}: JPEG changes labels as it compresses; save masks without loss, as PNG")
    return str(path), image


def _label_values(image: Image.Image, name: str) -> np.ndarray:
    """Give the labels `(H, W)`, int32, as the file holds them; UserError where it has no one integer per pixel."""
    values = np.asarray(image)
    if values.ndim != 2 or values.dtype.kind == "f":
        raise UserError(
            f"{name} is of mode {image.mode}, where a mask holds one label per pixel: save it as an index PNG of 8 or "
            "16 bits, as a paletted PNG, or in RGB together with the classes' colours in ROOT/classes.yaml:\n"
            f"{CLASSES_YAML}"
        )
    return values.astype(np.int32)


def _labels_of_colors(
    pixels: np.ndarray, name: str, colors: Sequence[Sequence[int]] | None, ignore_color: Sequence[int] | None
) -> np.ndarray:
    if colors is None:
        raise UserError(
            f"{name} is a mask in RGB, and the colours of the classes are not known: save it as an index PNG, or list "
            f"them in ROOT/classes.yaml:\n{CLASSES_YAML}"
        )
    listed = np.array(colors if ignore_color is None else [*colors, ignore_color])
    labels = np.array([*range(len(colors)), IGNORE], np.uint8)[: len(listed)]
    codes, wanted = pixels @ _CODE, listed @ _CODE
    order = np.argsort(wanted, kind="stable")
    place = np.searchsorted(wanted, codes, sorter=order).clip(max=len(order) - 1)
    chosen = order[place]
    unknown = wanted[chosen] != codes
    if unknown.any():
        row, column = (int(where) for where in np.argwhere(unknown)[0])
        red, green, blue = (int(value) for value in pixels[row, column])
        raise UserError(
            f"{name}: colour ({red}, {green}, {blue}) at row {row}, column {column} belongs to no class "
            f"({int(unknown.sum())} pixels of {len(np.unique(codes[unknown]))} unknown colours). Add it to 'colors', "
            "name it as ignore_color, or correct the mask"
        )
    return labels[chosen]


def _names(given: Any) -> tuple[str, ...]:
    if isinstance(given, dict) and set(given) == set(range(len(given))):
        given = [given[label] for label in range(len(given))]
    if not isinstance(given, list | tuple):
        raise UserError(
            f"names {given!r}; give a list, or a name for each label from 0 without a gap (where label 0 of the masks "
            "is no class, set reduce_zero_label: true)"
        )
    if len(names := tuple(map(str, given))) < 2 or len(set(names)) < len(names):
        raise UserError(f"names {list(names)}: give 2 or more, each once")
    return names
