"""The classes of a dataset: which category of an annotation file is which label of a model."""

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

from gpvit.data.files import read_lines
from gpvit.errors import UserError
from gpvit.yaml import read_yaml

CLASS_FILES = ("data.yaml", "data.yml", "classes.txt", "obj.names", "_darknet.labels")
"""The files that name the classes of YOLO's format, by the tools that write them."""


@dataclass(frozen=True)
class Categories:
    """Category ids, which annotation files number as they like, and the labels 1 to K that models learn.

    This is the one place where the two meet. Label 0 is the background, as in torchvision; label 1 the first category.

    Args:
        names: Name of each category, in the order of the labels.
        ids: Its id in annotation files and result files.

    Example:
        >>> Categories(("cat", "dog"), (17, 18)).category_id(2)
        18
    """

    names: tuple[str, ...]
    ids: tuple[int, ...]

    def __post_init__(self) -> None:
        for field in ("names", "ids"):  # lists from JSON
            object.__setattr__(self, field, tuple(getattr(self, field)))
        if not self.names or len(self.names) != len(self.ids):
            raise UserError(
                f"{len(self.names)} category names for {len(self.ids)} ids: give one or more, and one of each"
            )
        for what, values in (("name", self.names), ("id", self.ids)):
            if repeated := [value for value, count in Counter(values).items() if count > 1]:
                raise UserError(f"category {what}s {repeated} are given more than once; give each category its own")

    @classmethod
    def from_names(cls, names: Sequence[str]) -> "Categories":
        """Number the categories of data that come without ids like their labels, from 1."""
        return cls(tuple(names), tuple(range(1, len(names) + 1)))

    def __len__(self) -> int:
        return len(self.names)

    def category_id(self, label: int) -> int:
        """Say which id a label, from 1, has in files; UserError if there is no such label."""
        if not 1 <= label <= len(self):
            raise UserError(f"label {label} stands for no category; labels go from 1 to {len(self)}")
        return self.ids[label - 1]

    def matched(self, other: "Categories", name: str, other_name: str) -> list[int] | None:
        """Match categories by name: of each label, from 1, the label in `other`; None where labels and ids are equal.

        A warning says that ids or order differ; a UserError names both and the names that only one of them has.
        """
        if self == other:
            return None
        mine, theirs = set(self.names), set(other.names)
        if mine != theirs:
            differ = f"only {name} has {sorted(mine - theirs)}, only {other_name} has {sorted(theirs - mine)}"
            raise UserError(f"{name} and {other_name} must have the same categories: {differ}")
        warnings.warn(
            f"{name} and {other_name} give the same categories other ids, or another order; they are matched by name",
            stacklevel=2,
        )
        return [other.names.index(each) + 1 for each in self.names]


def read_class_names(folders: Sequence[Path]) -> list[str]:
    """Read the classes that folders list in `data.yaml`, `classes.txt` or the like.

    Raises:
        UserError: None does, or several do in other words.
    """
    listed: dict[Path, list[str]] = {}
    for path in (folder / name for folder in folders for name in CLASS_FILES):
        if path.is_file():
            is_yaml = path.suffix in (".yaml", ".yml")
            listed[path] = _names_of_yaml(path) if is_yaml else list(filter(None, read_lines(path)))
    if not any(listed.values()):
        raise UserError(
            f"{folders[0]} lists no classes: write their names, in the order of their numbers, into "
            f"{folders[0] / 'classes.txt'}, one a line, or as names: [...] into data.yaml"
        )
    first, *others = listed
    for other in others:
        if listed[other] != listed[first]:
            raise UserError(
                f"{first} and {other} list other classes, {shortened(listed[first])} and {shortened(listed[other])}; "
                "numbers mean one list: correct or remove the other"
            )
    return listed[first]


def _names_of_yaml(path: Path) -> list[str]:
    document = read_yaml(path)
    document = document if isinstance(document, dict) else {}
    names: Any = document.get("names")
    if isinstance(names, dict):
        numbered = {int(key): name for key, name in names.items() if str(key).isdecimal()}
        names = [numbered[key] for key in sorted(numbered)] if set(numbered) == set(range(len(names))) else None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise UserError(f"{path}: names is {shortened(document.get('names'))}; give a list, or a name of each number")
    if len(set(names)) < len(names):
        raise UserError(f"{path}: names {names}: give each once")
    if "kpt_shape" in document:
        raise UserError(f"{path}: kpt_shape says that the labels are of poses; export boxes or polygons")
    if (count := document.get("nc", len(names))) != len(names):
        raise UserError(f"{path}: nc is {count!r} and there are {len(names)} names; correct either")
    return names
