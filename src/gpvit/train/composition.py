"""Reads recipes, YAML files that build on others, laid one over the other, and says where their mistakes stand."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from gpvit.errors import UserError
from gpvit.io import located
from gpvit.yaml import read_yaml

PACKAGE = Path(__file__).parents[1]
EXAMPLE = "recipes/digits/classify.yaml"

_ALTERNATIVES = ({"epochs", "steps"}, {"global_batch_size", "accumulate"}, {"warmup", "warmup_steps", "warmup_epochs"})

RENAMED = {"learning_rate": "optim.lr", "class_path": "{}class", "init_args": "{}KEY, each beside `class`"}
"""What settings are called elsewhere, with their names here, `{}` being their group."""

Keys = tuple[str, ...]


@dataclass(frozen=True)
class Composition:
    """Recipes read one over the other: what they say together, and where."""

    settings: dict[str, Any]
    places: dict[Keys, tuple[Path, int] | None]
    """The file and the line that decide a setting, by its keys; None for what the command line decides. No keys stand
    for the last file."""

    @property
    def files(self) -> str:
        """The names of the files."""
        return ", ".join(dict.fromkeys(str(place[0]) for place in self.places.values() if place))

    def where(self, keys: Keys) -> str:
        """Name the place of a setting in front of a message: `mine.yaml, line 3: `, or nothing."""
        place = self.places.get(keys, self.places.get(()))
        return f"{place[0]}, line {place[1]}: " if place else ""

    def under(self, upper: "Composition") -> "Composition":
        """Lay another one over this."""
        return Composition(merge(self.settings, upper.settings), self.places | upper.places)

    def overridden(self, options: Mapping[str, Any]) -> "Composition":
        """Lay options of the command line over the recipes: `{"train.epochs": 3}`."""
        settings: dict[str, Any] = {}
        for option, value in options.items():
            settings = merge(settings, _nested(option.split("."), value))
        return self.under(Composition(settings, dict.fromkeys(keys for keys, _ in walk(settings))))


def find_recipe(name: str | Path, beside: Path | None = None) -> Path:
    """Find a recipe: a file of the user's, else one of this package, inside it or, in a checkout, beside its source.

    A path starts `beside`, by default in the working folder; `recipes/` may be left out of one of this package's.
    """
    name = located(name)
    own = name.as_posix().removeprefix("recipes/")
    for place in ((beside or Path()) / name, PACKAGE / "recipes" / own, PACKAGE.parents[1] / "recipes" / own):
        if place.is_file():
            return place
    raise FileNotFoundError(f"no recipe at {(beside or Path()) / name}; a recipe is a YAML file, such as {EXAMPLE}")


def compose(files: Sequence[Path]) -> Composition:
    """Read recipes one over the other, each after what its `base` names.

    `base: FILE`, or a list of files, is relative to the recipe that names it, or the name of a recipe of this package.
    Mappings are merged key by key; lists and single values replace what was there, and so does a mapping that names
    another `class`, for a class's settings are its own. What cannot be read is named with its file and line.
    """
    return reduce(_read, files, Composition({}, {}))


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
        if value is not None:
            for other in next((names for names in _ALTERNATIVES if key in names), set()) - upper.keys():
                merged.pop(other, None)
        merged[key] = value
    return merged


def walk(settings: Mapping[str, Any], above: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """List all settings and groups of them, from the outside in, each by its keys."""
    for key, value in settings.items():
        keys = (*above, str(key))
        yield keys, value
        if isinstance(value, Mapping):
            yield from walk(value, keys)


def _read(lower: Composition, file: Path, above: tuple[Path, ...] = ()) -> Composition:
    """Read a recipe, which `above` build on, and lay it over others, after its bases."""
    chain = (*above, file)
    if file.resolve() in {each.resolve() for each in above}:
        raise UserError(f"{' -> '.join(map(str, chain))}: a recipe is its own base; remove one of these `base` lines")
    own = _load(file)
    bases = own.settings.pop("base", [])
    bases = [bases] if isinstance(bases, str) else bases
    if not (isinstance(bases, list) and all(isinstance(base, str) for base in bases)):
        raise UserError(f"{own.where(('base',))}base {bases!r}: name a recipe, or several in a list")
    for base in bases:
        try:
            found = find_recipe(base, beside=file.parent)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{own.where(('base',))}{error}; a base is relative to its recipe") from error
        lower = _read(lower, found, chain)
    return lower.under(own)


def _load(file: Path) -> Composition:
    try:
        tree = yaml.compose(file.read_bytes())
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", error)
        place = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{file}{place} is not YAML in UTF-8: {problem}; check brackets, colons and indents") from error
    whole: dict[Keys, tuple[Path, int] | None] = {(): (file, 1)}
    if tree is None:
        return Composition({}, whole)
    if not isinstance(tree, yaml.MappingNode):
        raise UserError(f"{file} holds no settings; a recipe is lines of `key: value`, such as {EXAMPLE}")
    places: dict[Keys, tuple[Path, int] | None] = {}
    for keys, line in _lines(tree):
        if first := places.get(keys):
            raise UserError(
                f"{file}, line {line}: {'.'.join(keys)} stands in line {first[1]} already; keep one of them"
            )
        places[keys] = file, line
    return Composition(read_yaml(file), places | whole)


def _lines(node: Any, above: Keys = ()) -> Iterator[tuple[Keys, int]]:
    """List the keys of a document, from the outside in, each with its line."""
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        keys = (*above, str(key.value))
        yield keys, key.start_mark.line + 1
        yield from _lines(value, keys)


def check_types(parser: ArgumentParser, given: dict[str, Any], composition: Composition) -> Any:
    """Check settings of a composition against a parser's types, by which a number is read as it is meant.

    `root: 2024` is a folder, and `steps: 1e5` a count.
    """
    try:
        checked = parser.parse_object(given)
        parser.validate(checked, skip_unset=False)  # null is a value like any other, which most settings do not take
    except (ArgumentError, TypeError) as error:
        if meant := _as_meant(str(error), composition):
            composition = replace(composition, settings=merge(composition.settings, meant))
            return check_types(parser, merge(given, meant), composition)
        raise UserError(_explain(str(error), composition)) from error
    for keys, value in walk(composition.settings):
        if isinstance(value, str) and ":" in value and isinstance(checked.get(".".join(keys)), int | float):
            raise UserError(f"{composition.where(keys)}{'.'.join(keys)}: {value!r} given, a number expected")
    return checked


def refuse_unknown(composition: Composition, known: Iterable[str]) -> None:
    """Raise for the first setting that is neither `known`, such as `data.augmentation.scale`, nor within such a one."""
    for keys, value in walk(composition.settings):
        name, parent = ".".join(keys), ".".join([*keys[:-1], ""])
        is_group = any(each.startswith(f"{name}.") for each in known)
        if is_group and not isinstance(value, Mapping):
            raise UserError(f"{composition.where(keys)}{name}: {value!r} given, settings `key: value` expected")
        if not is_group and not any(f"{name}.".startswith(f"{each}.") for each in known):
            elsewhere = [each for each in sorted(known) if each.partition(".")[2] == keys[-1]]
            siblings = {each.removeprefix(parent).partition(".")[0] for each in known if each.startswith(parent)}
            near = elsewhere or [parent + each for each in difflib.get_close_matches(keys[-1], siblings, n=1)]
            near = near or [meant.format(parent) for key, meant in RENAMED.items() if key == keys[-1]]
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(siblings))}"
            raise UserError(f"{composition.where(keys)}there is no setting {name}; {hint}")


def _explain(text: str, composition: Composition) -> str:
    """Say what jsonargparse refuses: where it stands, what is given and what is expected."""
    if missing := re.search(r"arguments are required: ([\w.]+)", text):
        return f"{composition.files}: {missing[1]} is missing; add it, or give --{missing[1]} VALUE"
    keys, value, types = _refused(text, composition)
    expected = " or ".join(types) or text.partition("\n")[2].strip()
    return f"{composition.where(keys)}{'.'.join(keys)}: {value!r} given, {expected} expected" if keys else text


def _as_meant(text: str, composition: Composition) -> dict[str, Any]:
    """Give the one setting that jsonargparse refuses in the type that is meant, if it is a number of another type."""
    keys, value, types = _refused(text, composition)
    if type(value) is int and "str" in types:
        return _nested(keys, str(value))
    if type(value) is float and value.is_integer() and "int" in types:
        return _nested(keys, int(value))
    return {}


def _refused(text: str, composition: Composition) -> tuple[Keys, Any, list[str]]:
    """Read from jsonargparse's message which setting it refuses, by its keys, and the types that are expected."""
    found = re.search(r'key "([\w.]+)"', text)
    keys = tuple(found[1].split(".")) if found else ()
    value = next((value for path, value in walk(composition.settings) if path == keys), None)
    types = re.findall(r"Expected an? (.+?)(?:\. Got value.*)?$", text, re.MULTILINE)
    plain = [re.sub(r"<class '(?:\w+\.)*(\w+)'>|typing\.", r"\1", each).replace("NoneType", "null") for each in types]
    return keys, value, plain


def _nested(keys: Sequence[str], value: Any) -> dict[str, Any]:
    """Write a setting as a recipe would: `{"train": {"epochs": 3}}`."""
    return reduce(lambda inner, key: {key: inner}, reversed(keys), value)
