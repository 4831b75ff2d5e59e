"""The little of protobuf's wire format that tells what an ONNX file holds, without the package onnx."""

from collections.abc import Iterator
from typing import NamedTuple

from gpvit.errors import UserError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # kinds of values


class Field(NamedTuple):
    """A field of a message: its number, its value, and where it begins in the message's bytes."""

    number: int
    value: "int | memoryview"
    start: int


def fields(message: memoryview) -> Iterator[Field]:
    """Yield the fields of a message in their order; ValueError where its bytes are none."""
    at = 0
    while (start := at) < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise ValueError(f"no field has the number 0 (byte {start})")
        value: int | memoryview
        if kind == _VARINT:
            value, at = _varint(message, at)
        else:
            if kind == _BYTES:
                length, at = _varint(message, at)
            elif kind in (_FIXED64, _FIXED32):
                length = 8 if kind == _FIXED64 else 4
            else:
                raise ValueError(f"a field of the unknown kind {kind} (byte {start})")
            if at + length > len(message):
                raise ValueError(f"a field is cut short (byte {start})")
            value, at = message[at : at + length], at + length
        yield Field(number, value, start)


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Read a number of up to 64 bits; give it and where the next value begins."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError(f"a number is cut short (byte {at})")
        byte, at = message[at], at + 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError(f"a number has more than 64 bits (byte {at})")


def field(number: int, value: bytes) -> bytes:
    """Write a field of bytes."""
    return _number(number << 3 | _BYTES) + _number(len(value)) + value


def _number(value: int) -> bytes:
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


_INSIDE = {
    ("model", 7): "graph",
    ("model", 25): "function",
    ("graph", 1): "node",
    ("graph", 5): "tensor",
    ("graph", 15): "sparse",
    ("node", 5): "attribute",
    ("function", 7): "node",
    ("function", 11): "attribute",
    ("attribute", 5): "tensor",
    ("attribute", 6): "graph",
    ("attribute", 10): "tensor",
    ("attribute", 11): "graph",
    ("attribute", 22): "sparse",
    ("attribute", 23): "sparse",
    ("sparse", 1): "tensor",
    ("sparse", 2): "tensor",
}
"""Where a message of ONNX that may hold tensors lies in another, by the number of the field (onnx.proto)."""
_EXTERNAL, _LOCATION, _TRAINING = ("tensor", 13), ("tensor", 14), ("model", 20)


def refuse_other_files(model: memoryview) -> None:
    """Refuse a model with tensors that lie in other files: a path in a file would be opened.

    Raises:
        UserError: A tensor is external; the file's name is to stand before the message.
        ValueError: The bytes are no model.
    """
    waiting = [("model", model)]
    while waiting:
        kind, message = waiting.pop()
        for number, value, _ in fields(message):
            place = (kind, number)
            if place in (_EXTERNAL, _TRAINING) or (place == _LOCATION and value != 0):
                raise UserError(
                    "names another file, which its weights lie in; a file of ours is whole by itself: "
                    "export the model with `gpvit export`"
                )
            if place in _INSIDE:
                if not isinstance(value, memoryview):
                    raise ValueError(f"field {number} of a {kind} is a number")
                waiting.append((_INSIDE[place], value))
