"""Recipes made of several files: a recipe names what it builds on, and later files win over earlier ones."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import get_loader

from gpvit.errors import UserError

PACKAGE = Path(__file__).parents[1]
EXAMPLE = "recipes/digits/classify.yaml"

Keys = tuple[str, ...]


@dataclass(frozen=True)
class Composition:
    """Settings of recipes that were read one over the other.

    Args:
        parts: The files in the order in which they were read, each with what it says itself. Later ones win.

    Attributes:
        parts: As given.
        settings: What they say together.
    """

    parts: tuple[tuple[Path, dict[str, Any]], ...]

    @property
    def settings(self) -> dict[str, Any]:
        """What the files say together."""
        return reduce(merge, (own for _, own in self.parts), {})

    def origin(self, keys: Keys) -> Path | None:
        """Name the file that decides a setting.

        Args:
            keys: Where the setting stands, from the outside in: `("trainer", "max_epochs")`.

        Returns:
            The file; None if none speaks of it.
        """
        saying = [file for file, own in self.parts if _has(own, keys)]
        return saying[-1] if saying else None

    def where(self, keys: Keys) -> str | None:
        """Find keys that stand within each other, at whatever depth, for a message.

        Args:
            keys: From the outside in.

        Returns:
            As `mine.yaml, line 3`; None if they are in no file.
        """
        for file, _ in reversed(self.parts):
            for path, line in _keys(yaml.compose(file.read_text(encoding="utf-8"))):
                if path[-len(keys) :] == keys:
                    return f"{file}, line {line}"
        return None


def find_recipe(name: str | Path, beside: Path | None = None) -> Path:
    """Find a recipe: a file of the user's, else one of this package, inside it or, in a checkout, beside its source.

    Args:
        name: A path; one of this package's is `recipes/digits/classify.yaml`, with or without the first folder.
        beside: The folder that a path starts from; by default the working folder.

    Raises:
        FileNotFoundError: If it is in none of the places.
    """
    own = Path(name).as_posix().removeprefix("recipes/")
    for place in ((beside or Path()) / name, PACKAGE / "recipes" / own, PACKAGE.parents[1] / "recipes" / own):
        if place.is_file():
            return place
    raise FileNotFoundError(f"no recipe at {name}; a recipe is a YAML file, as {EXAMPLE}")


def compose(files: Sequence[Path]) -> Composition:
    """Read recipes one over the other, each after what its `base` names.

    `base: FILE`, or a list of files, is relative to the recipe that says it, or the name of a recipe of this package.
    Mappings are merged key by key; lists and single values replace what was there, and so does a mapping that names
    another class by `class_path`, for a class's settings are its own.

    Args:
        files: The recipes; later ones win.

    Raises:
        FileNotFoundError: If a base is missing; both files are named.
        ValueError: If a file is no YAML, says a key twice, or leads back to itself; the file and the line are named.
    """
    return Composition(tuple(part for file in files for part in _read(file)))


def merge(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Lay settings over others, as `compose` says; neither is changed.

    Example:
        >>> merge({"a": {"b": 1, "c": [1, 2]}}, {"a": {"c": [3]}, "d": None})
        {'a': {'b': 1, 'c': [3]}, 'd': None}
    """
    merged = dict(lower)
    for key, value in upper.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping) and not _another_class(below, value):
            value = merge(below, value)
        merged[key] = value
    return merged


def _another_class(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> bool:
    return "class_path" in upper and lower.get("class_path", upper["class_path"]) != upper["class_path"]


def _read(file: Path, above: tuple[Path, ...] = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    chain = (*above, file)
    if file.resolve() in {each.resolve() for each in above}:
        raise UserError(f"{' -> '.join(map(str, chain))}: a recipe is its own base; remove one of these `base` lines")
    own = _load(file)
    bases = own.pop("base", [])
    bases = [bases] if isinstance(bases, str) else bases
    if not (isinstance(bases, list) and all(isinstance(base, str) for base in bases)):
        raise UserError(f"{file}: base {bases!r}: name a recipe, or several in a list")
    for base in bases:
        try:
            found = find_recipe(base, beside=file.parent)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{file}: its base {base} is not at {file.parent / base}; name it relative to {file.name}'s folder, or "
                "a recipe of this package, as recipes/imagenet/gpvit_l1.yaml"
            ) from error
        yield from _read(found, chain)
    yield file, own


def _load(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
        tree = yaml.compose(text)
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not text in UTF-8 ({error.reason}); a recipe is a YAML file") from error
    except yaml.MarkedYAMLError as error:
        place = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{file}{place} is not YAML: {error.problem}; check brackets, colons and indents") from error
    except yaml.YAMLError as error:
        raise UserError(f"{file} is not YAML: {error}") from error
    if tree is None:
        return {}
    if not isinstance(tree, yaml.MappingNode):
        raise UserError(f"{file} holds no settings; a recipe is lines of `key: value`, as {EXAMPLE}")
    lines: dict[Keys, int] = {}
    for path, line in _keys(tree):
        where = ".".join(path)
        if first := lines.get(path):
            raise UserError(f"{file}, line {line}: {where} stands in line {first} already; keep one of them")
        lines[path] = line
    # jsonargparse's reader takes 1e-4 for a number, as on the command line; a file of lone keys, `key:`, for a text
    settings = get_loader("yaml")(text)
    return settings if isinstance(settings, dict) else {key: None for (key,) in lines}


def _keys(node: Any) -> Iterator[tuple[Keys, int]]:
    """List the keys of a document, from the outside in, each with its line."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (str(key.value),), key.start_mark.line + 1
            yield from (((str(key.value), *inner), line) for inner, line in _keys(value))
    elif isinstance(node, yaml.SequenceNode):
        for index, entry in enumerate(node.value):
            yield from (((str(index), *inner), line) for inner, line in _keys(entry))


def _has(settings: Any, keys: Keys) -> bool:
    for key in keys:
        if not isinstance(settings, Mapping) or key not in settings:
            return False
        settings = settings[key]
    return True
