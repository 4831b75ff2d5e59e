"""What files may say of a model, key by key: values like an example, within bounds."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from gpvit.errors import UserError
from gpvit.version import __version__


class Fact(NamedTuple):
    """What a file may say under a key: values such as the example, and of these the ones that are accepted."""

    example: Any
    accepted: str = "any"
    accepts: Callable[[Any], bool] = lambda value: True


_SIDE = 32  # of the smallest input that a GPViT takes
_PIXELS = 2**24  # of an input that a file asks for; a larger one would exhaust the memory

PREPROCESSING_KEYS: dict[str, Fact] = {
    "input_size": Fact(
        (3, 224, 224),
        f"channels, height and width, {_SIDE} pixels or more a side, of at most {_PIXELS:,} pixels",
        lambda value: len(value) == 3 and value[0] > 0 and min(value[1:]) >= _SIDE and value[1] * value[2] <= _PIXELS,
    ),
    "mean": Fact(
        (0.5,), "a number for each channel, up to 1e6", lambda value: value and all(abs(each) <= 1e6 for each in value)
    ),
    "std": Fact((0.5,), "numbers above 1e-6", lambda value: value and all(1e-6 < each < math.inf for each in value)),
    "interpolation": Fact("bicubic"),
    "crop_pct": Fact(0.875, "a part of 1", lambda value: 0 < value <= 1),
    "max_size": Fact(
        (2048, 512),
        f"a long and a short side, of at most {_PIXELS:,} pixels",
        lambda value: len(value) == 2 and value[0] >= value[1] > 0 and value[0] * value[1] <= _PIXELS,
    ),
    "size_divisor": Fact(32, "1 to 1024", lambda value: 1 <= value <= 1024),
    "label_names": Fact(("cat",), "names", bool),
    "label_colors": Fact(
        ((0, 0, 0),),
        "red, green and blue from 0 to 255",
        lambda value: all(len(color) == 3 and min(color) >= 0 and max(color) <= 255 for color in value),
    ),
    "category_ids": Fact((1,), "numbers, each once", lambda value: len({*value}) == len(value)),
}
"""What a file may tell of images and classes, named as in timm's ``pretrained_cfg``."""


def check_facts(where: str, given: Any, facts: Mapping[str, Fact]) -> None:
    """Refuse plain data that are no mapping, or a key that is unknown or whose value is not accepted; None always is.

    The file's name is to stand before the message.
    """
    check_values(where, given, {key: fact.example for key, fact in facts.items()})
    for key, value in given.items():
        if value is not None and not _accepts(facts[key], value):
            raise UserError(f"sets {key} in its {where} to {value!r:.100}; it takes {facts[key].accepted}")


def _accepts(fact: Fact, value: Any) -> bool:
    try:
        return bool(fact.accepts(value))
    except (TypeError, ValueError, OverflowError):  # of lists within lists, and of numbers that no float holds
        return False


def check_values(where: str, given: Any, known: Mapping[str, Any]) -> None:
    """Refuse plain data that are no mapping, or a key whose value is unlike its example, a part of a file's metadata.

    An example of None allows anything, and a tuple's element stands for all. The file's name is to stand before the
    message.
    """
    if not isinstance(given, dict):
        raise UserError(f"is not as gpvit writes it: {where} must be a mapping; got {given!r:.100}")
    for key, value in given.items():
        if key not in known:
            raise UserError(
                f"sets {key!r} in its {where}, which gpvit {__version__} takes from no file; it is of another version, "
                "or not as gpvit writes it"
            )
        if not _is_like(value, known[key]):
            raise UserError(
                f"sets {key} in its {where} to {value!r:.100}; allowed are values such as {known[key]!r:.100}"
            )


def _is_like(value: Any, example: Any) -> bool:
    if value is None or example is None:
        return True
    if isinstance(value, list | tuple) and not isinstance(example, str | dict):
        element = (example or (None,))[0] if isinstance(example, tuple) else example
        return all(each is not None and _is_like(each, element) for each in value)
    return type(value) is type(example) or (type(value) is int and isinstance(example, float))
