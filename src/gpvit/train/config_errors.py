"""Mistakes in recipes, in words: what is wrong, in which line of which file, and what it may have meant."""

import difflib
import inspect
import pydoc
import re
from collections.abc import Iterable
from textwrap import dedent
from typing import Any

from jsonargparse import ArgumentParser

from gpvit.train.composition import Composition


def report(error: Exception, parser: ArgumentParser, composition: Composition | None) -> str:
    """Say what is wrong with settings.

    Args:
        error: What jsonargparse says.
        parser: It knows the settings that there are.
        composition: The recipes that were read, if any.
    """
    message = plain(error)
    return _located(message, composition) + _proposal(message, parser)


def plain(error: Exception) -> str:
    """Leave of jsonargparse's report what went wrong and where; it also lists all that it tried."""
    noise = ("Does not validate against", "Subtypes:", "Errors:", "- Expected a <class 'NoneType'>", "Given value")
    lines = (line for line in str(error).splitlines() if not line.strip().startswith(noise))
    return dedent("\n".join(line.replace("- ", "", 1) for line in lines)).strip()


def _located(message: str, composition: Composition | None) -> str:
    """Say in front of a report where the setting stands that it calls unknown."""
    found = re.search(r"[Oo]ption '([\w.]+)'", message)
    place = composition.where(tuple(found[1].split("."))) if found and composition else None
    return f"{place}: {message}" if place else message


def _proposal(message: str, parser: ArgumentParser) -> str:
    """Propose what a setting that a report calls unknown may have meant."""
    settings = [key for key in vars(parser.get_defaults().as_flat()) if not key.startswith("config")]
    group = re.search(r"Group '([\w.]+)' does not accept option '(\w+)'", message)
    if taker := re.search(r"class_path '(\S+)':", message):
        found = re.search(r"Option '([\w.]+)' is not accepted", message)
        names = found[1].split(".") if found else [*group[1].split("."), group[2]] if group else None
        if names:
            return _nearest(*_first_unknown(pydoc.locate(taker[1]), names))
    elif group:
        return _nearest(group[2], [key.removeprefix(f"{group[1]}.") for key in settings])
    if found := re.search(r"Option '([\w.]+)' is not accepted", message):
        return _nearest(found[1].split(".")[0], {key.split(".")[0] for key in settings})
    if found := re.search(r"No (\S+) attribute (\w+)", message):
        return _nearest(found[2], [name for name in dir(pydoc.locate(found[1])) if name[0].isupper()])
    if found := re.search(r"unrecognized arguments: (--[^\s=]+)", message):
        return _nearest(found[1], [f"--{key}" for key in settings])
    if re.search(r"unrecognized arguments: \S+\.ya?ml", message):
        return "; recipes stand first, before what overrides them"
    return ""


def _first_unknown(taker: Any, names: list[str]) -> tuple[str, Iterable[str]]:
    """Find which of names within each other, as augmentation.horizontal_flp, is wrong, and what may stand there."""
    for name in names:
        if not inspect.isclass(taker):
            break
        known = inspect.signature(taker).parameters
        if name not in known:
            return name, known
        taker = known[name].annotation
    return names[-1], ()


def _nearest(unknown: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(unknown, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""
