"""The fields of COCO's format and of Pascal VOC's, in one table each: what each accepts, and how it is read."""

import json
import math
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from reprlib import repr as shortened
from typing import Any, NamedTuple

from gpvit.errors import UserError

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_WHOLE = re.compile(r"(0|-?[1-9]\d{0,18})(\.0+)?", re.ASCII)
_FLAGS = dict.fromkeys(("0", "false", "no", "off", "unspecified"), 0) | dict.fromkeys(("1", "true", "yes", "on"), 1)


class Notes:
    """What stands in a file in another form than COCO's, and is read as it is meant: said once, with a count."""

    def __init__(self) -> None:
        self._found: dict[str, list[Any]] = {}

    def add(self, what: str, example: str) -> None:
        """Count a case; the first is the example."""
        self._found.setdefault(what, [0, example])[0] += 1

    def warn(self, path: Path, stacklevel: int) -> None:
        """Say what was found."""
        if self._found:
            said = [f"{what} ({count}, first {example})" for what, (count, example) in self._found.items()]
            warnings.warn("\n  ".join([f"{path} is read as it is meant:", *said]), stacklevel=stacklevel + 1)


def number(value: Any) -> float:
    """Read a number, or the text of one, that is finite and that arrays hold exactly; ValueError for anything else."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if type(value) not in (int, float) or not abs(value) < 2**53:
        raise ValueError
    return float(value) if isinstance(value, float) else int(value)


def numbers(value: Any) -> list[float]:
    """Read a list of numbers, or the text of one."""
    value = json.loads(value) if isinstance(value, str) else value
    if not isinstance(value, list):
        raise ValueError
    return [number(each) for each in value]


def _whole(value: Any) -> int:
    read = number(value)
    if read != int(read):
        raise ValueError
    return int(read)


def _id(value: Any) -> int | str:
    """Read an id: a whole number in any form, of at most 64 bits, or else a text, which is a name."""
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        value = int(value.partition(".")[0])
    if isinstance(value, float):
        value = _whole(value)
    if type(value) is int:
        return value if -(2**63) <= value < 2**63 else str(value)
    return _text(value)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value


def _name(value: Any) -> str:
    return _text(value) if isinstance(value, str) else str(_whole(value))


def _side(value: Any) -> int:
    if not 1 <= (read := _whole(value)) < 2**31:
        raise ValueError
    return read


def _box(value: Any) -> list[float]:
    if len(read := numbers(value)) != 4:
        raise ValueError
    return read


def _area(value: Any) -> float:
    if (read := number(value)) < 0:
        raise ValueError
    return read


def _flag(value: Any) -> int:
    read = _FLAGS.get(value.strip().lower(), value) if isinstance(value, str) else value
    read = read if isinstance(read, bool) else number(read)
    if read not in (0, 1):
        raise ValueError
    return int(read)


class Field(NamedTuple):
    """What a field of an annotation file accepts, in words, and what reads it.

    What is not accepted is a ValueError or a TypeError. With a default, it may be missing, null or an empty text.
    """

    accepted: str
    read: Callable[[Any], Any]
    default: Any = ...


_ID = Field("a text or a whole number", _id)
_SIDE = Field("a whole number of pixels from 1", _side)
_FLAG = Field("0 or 1", _flag, 0)

FIELDS: Mapping[str, Mapping[str, Field]] = {
    "images": {"id": _ID, "file_name": Field("a text", _text), "height": _SIDE, "width": _SIDE},
    "categories": {
        "id": _ID,
        "name": Field("a text or a whole number", _name),
        "supercategory": Field("anything", lambda value: value, None),
    },
    "annotations": {
        "id": Field(_ID.accepted, _id, None),
        "image_id": _ID,
        "category_id": _ID,
        "bbox": Field("x, y, width and height, four finite numbers", _box),
        "area": Field("a finite number from 0", _area, math.nan),
        "iscrowd": _FLAG,
        "ignore": _FLAG,
        "segmentation": Field("polygons or run lengths", lambda value: value, None),
    },
}
"""What is read of each entry; the forms of `segmentation` are those of `read_segmentation`."""

_EDGE = Field("a finite number of pixels", number)

VOC: Mapping[str, Mapping[str, Field]] = {
    "size": {"width": Field(_SIDE.accepted, _side, None), "height": Field(_SIDE.accepted, _side, None)},
    "object": {"name": Field("a text", _text), "difficult": _FLAG, "truncated": _FLAG},
    "bndbox": {"xmin": _EDGE, "ymin": _EDGE, "xmax": _EDGE, "ymax": _EDGE},
}
"""What is read of the elements of a file of Pascal VOC's, whose values are texts."""

_ALL = {**FIELDS, **VOC}


def read_entry(kind: str, entry: Any, notes: Notes) -> dict[str, Any]:
    """Read the fields of an entry; a UserError names the first that is not accepted."""
    fields = _ALL[kind]
    if not isinstance(entry, dict):
        needed = ", ".join(name for name, field in fields.items() if field.default is ...)
        raise UserError(f"{shortened(entry)} stands for an object with {needed}")
    return {name: read_field(kind, name, entry.get(name), notes) for name in fields}


def entry_name(kind: str, place: int, entry: Any) -> str:
    """Name an entry of a list by its place and, if it has one, its id."""
    return f"{kind}[{place}]" + (f" (id {shortened(entry['id'])})" if isinstance(entry, dict) and "id" in entry else "")


def read_field(kind: str, name: str, value: Any, notes: Notes) -> Any:
    """Read one field as the table says; a note tells of a value that is not as COCO has it."""
    field = _ALL[kind][name]
    if field.default is not ... and (value is None or value == ""):
        return field.default
    try:
        read = field.read(value)
    except (ValueError, TypeError, RecursionError):
        raise UserError(f"{name} is {shortened(value)}; it takes {field.accepted}") from None
    if read != value:
        notes.add(f"{name} of {kind}", f"{shortened(value)} as {shortened(read)}")
    return read
