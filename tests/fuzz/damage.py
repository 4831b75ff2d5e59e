"""What can be wrong with a file: its bytes, or the fields of what it holds."""

import copy
from collections.abc import Iterator, Mapping
from functools import reduce
from operator import getitem
from typing import Any

from hypothesis import strategies as st

_NUMBERS = [0, 1, -1, 2, 1.0, 0.5, -0.0, 1e-4, 255, 256, 2**31, 2**53 + 1, 10**30, 1e308, float("nan"), float("inf")]
TEXTS = ["", " ", "0", "1", "no", "off", "1e-4", "08", "2026-01-01", "~", "$HOME", "/", "..", "a/b", "\\", "a\0b", "é"]
TEXTS += ["\ud800", "x" * 300, "{}", "[1", "%20", "*", "-", "--out"]

VALUES = st.deferred(
    lambda: st.one_of(
        st.sampled_from([None, True, False, *_NUMBERS, *TEXTS]),
        st.integers(),
        st.floats(),
        st.text(max_size=5),
        st.lists(VALUES, max_size=3),
        st.dictionaries(st.sampled_from(TEXTS), VALUES, max_size=2),
    )
)


@st.composite
def documents(draw: Any, *sound: Any) -> Any:
    """Take one of some sound documents, and change one to three of its places: another value, or none."""
    box = {"document": copy.deepcopy(draw(st.sampled_from(sound)))}
    for _ in range(draw(st.integers(1, 3))):
        places = [place for place in _places(box) if place]
        if not places:
            return None
        *above, key = draw(st.sampled_from(places))
        holder: Any = reduce(getitem, above, box)
        match draw(st.sampled_from(["value", "value", "moved", "absent", "repeated", "renamed"])):
            case "value":
                holder[key] = draw(VALUES)
            case "moved":
                holder[key] = copy.deepcopy(reduce(getitem, draw(st.sampled_from(places)), box))
            case "absent":
                del holder[key]
            case "repeated" if isinstance(holder, list):
                holder.insert(key, copy.deepcopy(holder[key]))
            case "renamed" if isinstance(holder, dict):
                keys = st.sampled_from([*TEXTS, None, True, 1, 0.5]) | st.text(max_size=5)
                holder[draw(keys)] = holder.pop(key)
    return box.get("document")


def _places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield above
    if len(above) < 8:
        inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, each in inside:
            yield from _places(each, (*above, key))


@st.composite
def files(draw: Any, sound: Mapping[str, bytes]) -> tuple[str, bytes]:
    """Take one of some files, by name, and cut it, flip bytes or splice parts of others in, up to four times."""
    name = draw(st.sampled_from(sorted(sound)))
    content = bytearray(sound[name])
    for _ in range(draw(st.integers(1, 4))):
        # most of what a file says of itself stands at its beginning
        start = draw(st.integers(0, min(64, len(content))) | st.integers(0, len(content)))
        end = start + draw(st.sampled_from([1, 1, 1, 2, 4, 16, 2**30]))
        match draw(st.sampled_from(["flip", "flip", "flip", "cut", "splice", "insert"])):
            case "flip":
                content[start : start + 1] = draw(st.binary(min_size=1, max_size=1) | st.sampled_from([b"\0", b"\xff"]))
            case "cut":
                del content[start:end]
            case "splice":
                other = sound[draw(st.sampled_from(sorted(sound)))]
                content[start:end] = other[start : start + draw(st.integers(0, 64))]
            case "insert":
                content[start:start] = draw(st.binary(max_size=16))
    return name, bytes(content)
