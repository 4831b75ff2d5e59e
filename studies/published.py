"""Published figures that the tables set ours beside, read from published.yaml, each with its source."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from gpvit.errors import UserError

PATH = Path(__file__).with_name("published.yaml")

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
    "since2": {"params", "gmacs", "top1"},
    "since3": {"params", "gmacs", "box_1x", "mask_1x", "box_3x", "mask_3x"},
    "since4": {"params", "gmacs", "box_1x", "box_3x"},
    "since5": {"params", "gmacs", "miou"},
}
"""The figures that a row of each section can hold: millions of parameters, billions of multiply-accumulates, scores in
percent, milliseconds."""

_TEXTS = {"source", "model", "note"}
_NO_SCORES = {"params", "gmacs", "gmacs_ade20k", "ms_800x1280"}


@dataclass(frozen=True)
class PublishedRow:
    """What is published about one model or one choice.

    Args:
        figures: Numbers by the section's keys.
        source: Where they stand, a key of the sources.
        model: Name by which this package or timm creates the same network, to count it; None if neither does.
        note: How to read them.
    """

    figures: Mapping[str, float]
    source: str
    model: str | None = None
    note: str = ""

    @property
    def remark(self) -> str:
        """Source and note."""
        return "; ".join(filter(None, [self.source, self.note]))


@dataclass(frozen=True)
class Published:
    """All published figures: what each source stands for, rows by section and label, what the text says of a table."""

    sources: Mapping[str, str]
    sections: Mapping[str, Mapping[str, PublishedRow]]
    findings: Mapping[str, str] = field(default_factory=dict)

    def rows(self, section: str) -> Mapping[str, PublishedRow]:
        """Return the rows of a section by label; there may be none."""
        return self.sections.get(section, {})

    def legend(self, remarks: Iterable[str]) -> str:
        """Write a sentence that says what the sources are that remarks name."""
        named = {word for remark in remarks for word in remark.split("; ")}
        return (
            "Sources: " + "; ".join(f"`{name}`, {text}" for name, text in self.sources.items() if name in named) + "."
        )


@cache
def load_published(path: Path = PATH) -> Published:
    """Read and check a file of published figures.

    Args:
        path: A YAML file with the keys ``sources``, ``findings`` and those of ``SECTIONS``.

    Raises:
        ValueError: A section, a key or a source is unknown, or a figure cannot be one; file, row and remedy are named.
    """
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or not isinstance(content.get("sources"), dict):
        raise UserError(f"{path}: begin with `sources:`, a mapping from names of sources to what they are")
    sources, findings = content.pop("sources"), content.pop("findings", {})
    _check_keys(f"{path}", content, SECTIONS)
    _check_keys(f"{path}, findings", findings, {*SECTIONS, "table7", "table8"})
    sections: dict[str, dict[str, PublishedRow]] = {}
    for section, rows in content.items():
        if not isinstance(rows, dict):
            raise UserError(f"{path}, {section}: {rows!r} is no mapping of rows")
        known = SECTIONS[section]
        sections[section] = {
            label: _row(f"{path}, {section}, {label}", row, known, sources) for label, row in rows.items()
        }
    return Published(sources, sections, findings)


def _row(where: str, values: Any, known: set[str], sources: Mapping[str, str]) -> PublishedRow:
    if not isinstance(values, dict):
        raise UserError(f"{where}: {values!r} is no mapping of figures")
    _check_keys(where, values, known | _TEXTS)
    figures = {key: value for key, value in values.items() if key in known}
    if values.get("source") not in sources:
        raise UserError(f"{where}: source is {values.get('source')!r}; name one of {', '.join(sources)}, or add it")
    for key, value in figures.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise UserError(f"{where}: {key} is {value!r}; give a positive number, or leave out what is not known")
        if key not in _NO_SCORES and value > 100:
            raise UserError(f"{where}: {key} is {value!r}; scores are in percent")
    return PublishedRow(figures, **{key: values[key] for key in _TEXTS & values.keys()})


def _check_keys(where: str, given: Iterable[str], known: Iterable[str]) -> None:
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UserError(f"{where}: unknown key {key!r}; {hint}known are {', '.join(sorted(known))}")
