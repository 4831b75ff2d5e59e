"""Masks as label maps, whatever wrote the file: classes count from 0, and 255 is ignored."""

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageSequence

from gpvit.errors import UserError
from gpvit.io import located
from gpvit.runtime.images import decoding, identify, upright

IGNORE = 255  # the label of pixels that no loss and no score counts
CLASSES_YAML = """  names: [background, cat, dog]
  colors: [[0, 0, 0], [220, 60, 20], [40, 90, 200]]
  ignore_index: 255"""
_SHOWN = 5  # labels named in a message
_CODE = np.array([1 << 16, 1 << 8, 1], np.int32)  # times a colour, a number of its own
_GRAYS = np.arange(256, dtype=np.int32) * 0x10101  # the codes of gray values
_ALTERED = {  # what Pillow changes as it reads, by its decoder and the arguments of that
    r"(RGB|RGBA|RGBX|LA);16": "holds 16 bits a channel, of which only 8 would be read",
    r"'L;I'": "counts from white, and would be inverted",
    r"'ppm'|'ppm_plain'.*'(L|I|RGB)', (?!255\)|65535\))": "has another largest value than 255, and would be scaled",
}


def read_mask(
    source: "str | Path | Image.Image | Mask",
    num_classes: int,
    *,
    colors: Sequence[Sequence[int]] | None = None,
    ignore_index: int = IGNORE,
    ignore_color: Sequence[int] | None = None,
    reduce_zero_label: bool = False,
) -> np.ndarray:
    """Read a mask as the class of each pixel.

    With `colors`, a mask in RGB or with a palette is read by its colours, and a gray one too if all of these are gray,
    such as the [0, 0, 0] and [255, 255, 255] of black and white masks. Any other mask is read by its values: the
    indices of a palette, gray values, also in RGB, or the whole numbers of files of 16 bits, 32 bits or floats.

    Args:
        source: A path or an open PIL image, of any format without loss, or what `open_mask` read.
        num_classes: How many classes there are, at most 255.
        colors: The colour of each class.
        ignore_index: The value in the file that is ignored, unless its colour is that of a class.
        ignore_color: The colour in the file that is ignored.
        reduce_zero_label: Value 0 of the file is ignored and value 1 is class 0, as ADE20K writes it; a mask that is
            read by colours is not changed.

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
    mask = source if isinstance(source, Mask) else open_mask(source)
    codes = None if colors is None else mask.codes(np.array(colors, np.int32) @ _CODE)
    if codes is not None:
        return _labels_of_colors(mask, codes, colors or (), ignore_index, ignore_color)
    return _labels_of_values(mask, num_classes, ignore_index, int(reduce_zero_label))


class Mask(NamedTuple):
    """What the file of a mask holds.

    Args:
        name: What messages call it.
        kind: What each pixel is: a number, a gray value, the index of a palette, or the code of a colour.
        values: These `(H, W)`.
        table: The code of the colour of each gray value or index.
    """

    name: str
    kind: Literal["number", "gray", "index", "color"]
    values: np.ndarray
    table: np.ndarray = _GRAYS

    def labels(self) -> np.ndarray:
        """Give the label of each pixel; UserError where the file holds colours, or fractions, instead."""
        values = self.values & 255 if self.kind == "color" else self.values
        if self.kind == "color" and not np.array_equal(_GRAYS[values], self.values):
            raise UserError(
                f"{self.name} is a mask in RGB, and the colours of the classes are not known: save it as an index PNG, "
                f"or list them in ROOT/classes.yaml:\n{CLASSES_YAML}"
            )
        if values.dtype.kind == "f" and (wrong := values[values != np.rint(values)]).size:
            raise UserError(
                f"{self.name} holds {wrong[0]:g}, where a mask holds whole numbers: save it as an index PNG of 8 or 16 "
                "bits, with 255 where there is no data"
            )
        return values

    def codes(self, listed: np.ndarray) -> np.ndarray | None:
        """Give the code of each pixel's colour, unless the file is gray and the listed colours are not."""
        if self.kind == "color":
            return self.values
        if self.kind != "index" and not np.isin(listed, _GRAYS).all():
            return None
        if self.kind != "number":
            return self.table[self.values]
        grays = self.labels()
        if grays.dtype == np.uint16 and not (grays % 257).any():  # from 0 to 65535
            grays = grays // 257
        is_gray = (grays >= 0) & (grays <= 255)
        return np.where(is_gray, _GRAYS[np.where(is_gray, grays, 0).astype(np.uint8)], -1)

    def used(self) -> np.ndarray:
        """List the labels that occur, ascending."""
        values = self.labels()
        return np.bincount(values.ravel()).nonzero()[0] if values.dtype == np.uint8 else np.unique(values)


Palette = dict[int, tuple[int, str]]
"""The code of the colour of each index that a set of masks uses, and the mask where it was first seen."""


def require_same_palette(mask: Mask, palette: Palette) -> None:
    """Check that the indices of a mask have the colours that they had in the masks before it, and remember them."""
    for index in mask.used().tolist() if mask.kind == "index" else ():
        color = int(mask.table[index])
        before, name = palette.setdefault(index, (color, mask.name))
        if color != before:
            raise UserError(
                f"{name} and {mask.name} have different palettes: index {index} is {_shown(before)} in the first and "
                f"{_shown(color)} in the second, so indices are no classes. List the classes' colours, by which masks "
                f"are read then, in ROOT/classes.yaml:\n{CLASSES_YAML}\nIf indices are the classes nevertheless, save "
                "the masks without a palette"
            )


def open_mask(source: str | Path | Image.Image) -> Mask:
    """Read what the file of a mask holds, its values untouched."""
    if isinstance(source, Image.Image):
        return _decode(source, getattr(source, "filename", "") or f"PIL image of mode {source.mode}")
    path = located(source)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such mask; check the path (relative to {Path.cwd()})")
    with path.open("rb") as file:
        return _decode(*identify(file, str(path)))


def turn_as(image_file: Path, labels: np.ndarray) -> np.ndarray:
    """Turn labels `(H, W)` as EXIF data turn an image, if they have the size that it has before, and warn of it."""
    with image_file.open("rb") as file:
        image, name = identify(file, str(image_file))
        stored = Image.fromarray(labels)
        stored.getexif()[ExifTags.Base.Orientation] = image.getexif().get(ExifTags.Base.Orientation, 1)
    if stored.size != image.size:
        return labels
    warnings.warn("masks drawn on images as they are before EXIF data turn these are turned with them", stacklevel=2)
    return np.asarray(upright(stored, name))


def _decode(image: Image.Image, name: str) -> Mask:
    _refuse_altered(image, name)
    image = upright(image, name)
    with decoding(name):
        image.load()
    base = image.mode.removesuffix("A")
    alpha = np.asarray(image.getchannel("A")) if base != image.mode else None
    plain = image if alpha is None or base == "RGB" else image.getchannel(base)
    if base in ("RGB", "RGBX"):
        mask = Mask(name, "color", np.asarray(plain.convert("RGB")) @ _CODE)
    elif base in ("1", "L"):
        mask = Mask(name, "gray", np.asarray(plain).astype(np.uint8), _GRAYS[:: 255 if base == "1" else 1])
    elif base == "P":
        colors = np.array(image.getpalette() or [], np.int32).reshape(-1, 3) @ _CODE
        table = np.concatenate([colors, np.full(256 - len(colors), -1, np.int32)])
        is_ramp = len(colors) != 1 and np.array_equal(colors, _GRAYS[: len(colors)])
        mask = Mask(name, "gray", np.asarray(plain)) if is_ramp else Mask(name, "index", np.asarray(plain), table)
    elif base.startswith(("I", "F")):
        mask = Mask(name, "number", np.asarray(plain))
    else:
        raise UserError(
            f"{name} is of mode {image.mode}, where a mask holds a label or a colour per pixel: save it as an index "
            "PNG of 8 or 16 bits, as a paletted PNG, or in RGB of 8 bits"
        )
    if alpha is not None and alpha.min() != alpha.max():
        hidden = mask.values[alpha == 0]
        if not np.isin(alpha, (0, 255)).all() or (hidden != hidden[:1]).any():
            raise UserError(
                f"{name} is transparent in part, by halves or over several values, so which class is meant is not "
                "known: save it without transparency and without soft edges"
            )
    return mask


def _refuse_altered(image: Image.Image, name: str) -> None:
    """Refuse a file that does not keep labels, or that Pillow would not give back as it is."""
    if image.format in ("JPEG", "MPO"):
        raise UserError(
            f"{name}: JPEG changes labels as it compresses; save masks without loss, as PNG. One of black and white is "
            "mended by Image.open(mask).convert('L').point(lambda gray: 255 * (gray > 127)).save('mask.png')"
        )
    with decoding(name):
        sizes = [page.size for page in ImageSequence.Iterator(image)] if getattr(image, "n_frames", 1) > 1 else []
        if sizes:
            image.seek(0)
    if sizes[1:] and image.size in sizes[1:]:  # smaller ones are overviews
        raise UserError(f"{name} holds {len(sizes)} images, where a mask is one: save each class's label in one image")
    decoder = str(getattr(image, "tile", ""))
    if altered := [what for pattern, what in _ALTERED.items() if re.search(pattern, decoder)]:
        raise UserError(f"{name} {altered[0]}: save it as an index PNG of 8 or 16 bits, or in RGB of 8")


def _labels_of_values(mask: Mask, num_classes: int, ignore_index: int, first: int) -> np.ndarray:
    """Count the labels of a file from the first class."""
    if mask.kind == "index":
        used = mask.used()
        grays = mask.table[used] & 255
        if (grays < num_classes).all() and (grays != used).any() and np.array_equal(_GRAYS[grays], mask.table[used]):
            raise UserError(
                f"{mask.name} has a palette of grays: index {used[-1]} is gray {grays[-1]}, and either may be the "
                f"class. Save it without a palette, or list the classes' colours in ROOT/classes.yaml:\n{CLASSES_YAML}"
            )
    values = mask.labels()
    ignored = values == ignore_index
    if first:
        ignored |= values == 0
    outside = ~ignored & ((values < first) | (values >= num_classes + first))
    if outside.any():
        found = [int(label) for label in np.unique(values[outside])]
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        grays = "If values are the grays of classes, list these as colours in ROOT/classes.yaml"
        hint = "Values beyond 255 may be of instances: take the masks of classes" if found[-1] > IGNORE else grays
        raise UserError(
            f"{mask.name}: label {', '.join(map(str, found[:_SHOWN]))}{more} ({int(outside.sum())} pixels) lies "
            f"outside the {num_classes} classes; allowed are {first} to {num_classes - 1 + first}, and {ignore_index}, "
            "which is ignored. Complete the list of classes, correct the mask, or set ignore_index to a label to "
            f"ignore it. {hint}"
        )
    labels = np.where(ignored, 0, values).astype(np.uint8) - first
    labels[ignored] = IGNORE
    return labels


def _labels_of_colors(
    mask: Mask,
    codes: np.ndarray,
    colors: Sequence[Sequence[int]],
    ignore_index: int,
    ignore_color: Sequence[int] | None,
) -> np.ndarray:
    """Look up the class of each colour."""
    listed = np.array(colors if ignore_color is None else [*colors, ignore_color], np.int32)
    labels = np.array([*range(len(colors)), IGNORE], np.uint8)[: len(listed)]
    wanted = listed @ _CODE
    order = np.argsort(wanted, kind="stable")
    place = np.searchsorted(wanted, codes, sorter=order).clip(max=len(order) - 1)
    chosen = order[place]
    known, found = wanted[chosen] == codes, labels[chosen]
    if mask.kind != "color":
        found[~known & (ignored := mask.values == ignore_index)] = IGNORE
        known |= ignored
    if not known.all():
        row, column = (int(where) for where in np.argwhere(~known)[0])
        raise UserError(
            f"{mask.name}: colour {_shown(int(codes[row, column]))} at row {row}, column {column} belongs to no class "
            f"({int((~known).sum())} pixels of {len(np.unique(codes[~known]))} unknown colours). Add it to 'colors', "
            "name it as ignore_color, or correct the mask; or leave out 'colors', to read gray values or a palette's "
            "indices as labels"
        )
    return found


def _shown(code: int) -> str:
    return f"({code >> 16}, {code >> 8 & 255}, {code & 255})" if code >= 0 else "no colour"
