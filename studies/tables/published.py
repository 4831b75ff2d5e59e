"""Published figures that the tables set ours beside, read from published.yaml, each with its source."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import yaml

PATH = Path(__file__).with_name("published.yaml")

_SCORES = {"top1", "top5", "box_1x", "mask_1x", "box_3x", "mask_3x", "box", "miou"}  # in percent
SECTIONS: dict[str, set[str]] = {
    "table2": {"params", "gmacs", "top1"},
    "remeasured": {"top1", "top5"},
    "table3": {"params", "gmacs", "box_1x", "mask_1x", "box_3x", "mask_3x"},
    "table4": {"params", "gmacs", "box_1x", "box_3x"},
    "table5_upernet": {"params", "gmacs", "miou"},
    "table5_segformer": {"params", "gmacs", "miou"},
    "table6": {"gmacs", "gmacs_ade20k", "top1", "miou"},
    "table9": {"top1"},
    "table10": {"ms_800x1280"},
    "peers": {"top1"},
}
"""The figures that a row of each section can hold."""

_TEXTS = {"source", "model", "note"}


@dataclass(frozen=True)
class PublishedRow:
    """What is published about one model or one choice.

    Args:
        figures: Numbers by the section's keys: millions of parameters, billions of multiply-accumulates, scores in
            percent, milliseconds.
        source: Where they stand, a key of the sources.
        model: Name by which this package or timm creates the same network, to count it; None if neither does.
        note: How to read them.
    """

    figures: Mapping[str, float]
    source: str
    model: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Published:
    """All published figures.

    Args:
        sources: What each name of a source stands for.
        sections: Rows by label, of each section.
        findings: What the paper's text says of a table whose cells could not be found.
    """

    sources: Mapping[str, str]
    sections: Mapping[str, Mapping[str, PublishedRow]]
    findings: Mapping[str, str] = field(default_factory=dict)

    def rows(self, section: str) -> Mapping[str, PublishedRow]:
        """Return the rows of a section by label; there may be none."""
        return self.sections.get(section, {})


@cache
def load_published(path: Path = PATH) -> Published:
    """Read and check a file of published figures.

    Args:
        path: A YAML file with the keys ``sources``, ``findings`` and those of ``SECTIONS``.

    Raises:
        ValueError: If a section, a key or a source is unknown, or a figure cannot be one; file, row and remedy are
            named.
    """
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or not isinstance(content.get("sources"), dict):
        raise ValueError(f"{path}: begin with `sources:`, a mapping from names of sources to what they are")
    sources, findings = content.pop("sources"), content.pop("findings", {})
    _check_known(f"{path}", content, SECTIONS)
    _check_known(f"{path}, findings", findings, SECTIONS | {"table7": set(), "table8": set()})
    sections = {
        section: _section(f"{path}, {section}", rows, SECTIONS[section], sources) for section, rows in content.items()
    }
    return Published(sources, sections, findings)


def _section(where: str, rows: Any, figures: set[str], sources: Mapping[str, str]) -> dict[str, PublishedRow]:
    if not isinstance(rows, dict):
        _refuse(where, f"{rows!r} is no mapping of rows")
    return {label: _row(f"{where}, {label}", values, figures, sources) for label, values in rows.items()}


def _row(where: str, values: Any, figures: set[str], sources: Mapping[str, str]) -> PublishedRow:
    if not isinstance(values, dict):
        _refuse(where, f"{values!r} is no mapping of figures")
    _check_known(where, values, figures | _TEXTS)
    if values.get("source") not in sources:
        _refuse(where, f"source is {values.get('source')!r}; name one of {', '.join(sources)}, or add it to them")
    for key in figures & values.keys():
        value = values[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            _refuse(where, f"{key} is {value!r}; give a positive number, or leave out what is not known")
        if key in _SCORES and value > 100:
            _refuse(where, f"{key} is {value!r}; scores are in percent")
    texts = {key: values[key] for key in _TEXTS & values.keys()}
    return PublishedRow({key: value for key, value in values.items() if key in figures}, **texts)


def _check_known(where: str, given: Iterable[str], known: Iterable[str]) -> None:
    known = list(known)
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            _refuse(where, f"unknown key {key!r}; {hint}known are {', '.join(sorted(known))}")


def _refuse(where: str, reason: str) -> NoReturn:
    raise ValueError(f"{where}: {reason}")
