"""Reads recipes: YAML files that build on others, laid one over the other, with the file and line of every key."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from jsonargparse import get_loader

from gpvit.errors import UserError

PACKAGE = Path(__file__).parents[1]
EXAMPLE = "recipes/digits/classify.yaml"

_INSTEAD = {"epochs": "steps", "global_batch_size": "accumulate", "warmup_epochs": "warmup_steps"}
_INSTEAD |= {other: name for name, other in _INSTEAD.items()}

Keys = tuple[str, ...]


class Part(NamedTuple):
    """What one file says itself, without its bases; `file` is None for the command line."""

    file: Path | None
    settings: dict[str, Any]
    lines: Mapping[Keys, int]


@dataclass(frozen=True)
class Composition:
    """Recipes read one over the other.

    Args:
        parts: In the order in which they were read; later ones win.
    """

    parts: tuple[Part, ...]

    @property
    def settings(self) -> dict[str, Any]:
        """What the parts say together."""
        return reduce(merge, (part.settings for part in self.parts), {})

    @property
    def files(self) -> str:
        """The names of the files."""
        return ", ".join(str(part.file) for part in self.parts if part.file)

    def place(self, keys: Keys) -> tuple[Path, int] | None:
        """Find the file and the line that decide a setting, given by its keys from the outside in.

        Returns:
            None if no file names it, or the command line decides it.
        """
        for part in reversed(self.parts):
            if keys in part.lines:
                return (part.file, part.lines[keys]) if part.file else None
        return None

    def where(self, keys: Keys) -> str:
        """Name that place in front of a message: `mine.yaml, line 3: `, or nothing."""
        place = self.place(keys)
        return f"{place[0]}, line {place[1]}: " if place else ""

    def overridden(self, options: Mapping[str, Any]) -> "Composition":
        """Lay options of the command line over the recipes: `{"train.epochs": 3}`."""
        settings: dict[str, Any] = {}
        lines = {}
        for option, value in options.items():
            keys = tuple(option.split("."))
            lines.update({keys[:depth]: 0 for depth in range(1, len(keys) + 1)})
            settings = merge(settings, reduce(lambda inner, key: {key: inner}, reversed(keys), value))
        return Composition((*self.parts, Part(None, settings, lines)))


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
    raise FileNotFoundError(f"no recipe at {name}; a recipe is a YAML file, such as {EXAMPLE}")


def compose(files: Sequence[Path]) -> Composition:
    """Read recipes one over the other, each after what its `base` names.

    `base: FILE`, or a list of files, is relative to the recipe that names it, or the name of a recipe of this package.
    Mappings are merged key by key; lists and single values replace what was there, and so does a mapping that names
    another `class`, for a class's settings are its own.

    Args:
        files: The recipes; later ones win.

    Raises:
        FileNotFoundError: If a base is missing; both files are named.
        UserError: If a file is not YAML, gives a key twice, or leads back to itself; the file and the line are named.
    """
    return Composition(tuple(part for file in files for part in _read(file)))


def merge(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Lay settings over others, as `compose` describes; neither is changed.

    What says the same as another setting takes its place: `steps` that of `epochs`.

    Example:
        >>> merge({"a": {"b": 1, "c": [1, 2]}}, {"a": {"c": [3]}, "d": None})
        {'a': {'b': 1, 'c': [3]}, 'd': None}
    """
    merged = dict(lower)
    for key, value in upper.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            another_class = value.get("class", below.get("class")) != below.get("class")
            value = dict(value) if another_class else merge(below, value)
        if value is not None and _INSTEAD.get(key) not in upper:
            merged.pop(_INSTEAD.get(key, ""), None)
        merged[key] = value
    return merged


def _read(file: Path, above: tuple[Path, ...] = ()) -> Iterator[Part]:
    chain = (*above, file)
    if file.resolve() in {each.resolve() for each in above}:
        raise UserError(f"{' -> '.join(map(str, chain))}: a recipe is its own base; remove one of these `base` lines")
    part = _load(file)
    bases = part.settings.pop("base", [])
    bases = [bases] if isinstance(bases, str) else bases
    if not (isinstance(bases, list) and all(isinstance(base, str) for base in bases)):
        raise UserError(f"{file}, line {part.lines['base',]}: base {bases!r}: name a recipe, or several in a list")
    for base in bases:
        try:
            found = find_recipe(base, beside=file.parent)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{file}: its base {base} is not at {file.parent / base}; name it relative to {file.name}'s folder, or "
                "a recipe of this package, such as recipes/imagenet/gpvit_l1.yaml"
            ) from error
        yield from _read(found, chain)
    yield part


def _load(file: Path) -> Part:
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
        return Part(file, {}, {})
    if not isinstance(tree, yaml.MappingNode):
        raise UserError(f"{file} holds no settings; a recipe is lines of `key: value`, such as {EXAMPLE}")
    lines: dict[Keys, int] = {}
    for keys, line in _keys(tree):
        if first := lines.get(keys):
            raise UserError(f"{file}, line {line}: {'.'.join(keys)} stands in line {first} already; keep one of them")
        lines[keys] = line
    # jsonargparse's reader takes 1e-4 for a number, as on the command line; a file of lone keys, `key:`, for a text
    settings = get_loader("yaml")(text)
    return Part(file, settings if isinstance(settings, dict) else {key: None for (key,) in lines}, lines)


def _keys(node: Any) -> Iterator[tuple[Keys, int]]:
    """List the keys of a document, from the outside in, each with its line."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (str(key.value),), key.start_mark.line + 1
            yield from (((str(key.value), *inner), line) for inner, line in _keys(value))
    elif isinstance(node, yaml.SequenceNode):
        for index, entry in enumerate(node.value):
            yield from (((str(index), *inner), line) for inner, line in _keys(entry))
