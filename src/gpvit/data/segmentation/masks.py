"""Masks as label maps: whatever wrote the file, classes count from 0 and 255 is ignored."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from gpvit.data.images import ImageError
from gpvit.errors import UserError

IGNORE = 255  # the label of pixels that no loss and no score counts
_SHOWN = 5  # labels named in a message
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
    name, image = open_mask(source)
    if image.mode in ("RGB", "RGBA"):
        return _labels_of_colors(np.asarray(image.convert("RGB")), name, colors, ignore_color)
    labels = label_values(image, name)
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


def open_mask(source: str | Path | Image.Image) -> tuple[str, Image.Image]:
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


def label_values(image: Image.Image, name: str) -> np.ndarray:
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
    listed = np.array([*colors, *([ignore_color] if ignore_color is not None else [])])
    labels = np.array([*range(len(colors)), IGNORE], np.uint8)[: len(listed)]
    codes, wanted = _codes(pixels), _codes(listed)
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


def _codes(colors: np.ndarray) -> np.ndarray:
    """Give one integer for each colour `(..., 3)`."""
    red, green, blue = np.moveaxis(colors.astype(np.int32), -1, 0)
    return red << 16 | green << 8 | blue
