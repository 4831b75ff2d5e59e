"""The entries of docs/paper-vs-code.md, and the checks that hold them to the code."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

import gpvit
from gpvit.train.composition import compose, find_recipe
from gpvit.train.recipes import read_recipe

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "paper-vs-code.md"


@dataclass(frozen=True)
class Entry:
    """A difference.

    Args:
        section: Heading above it.
        title: Its own heading.
        parts: What it says, by the word in bold.
    """

    section: str
    title: str
    parts: dict[str, str]

    def says(self, *facts: object) -> None:
        """Insist that the entry names facts that were found in the code."""
        text = " ".join(self.parts.values())
        missing = [
            fact for fact in map(str, facts) if not re.search(rf"(?<![\w.]){re.escape(fact)}(?![\w]|\.\d)", text)
        ]
        assert not missing, f"{self.title}: the page does not say {missing}"


Check = Callable[[Entry], None]
CHECKS: dict[str, Check] = {}


def check(title: str) -> Callable[[Check], Check]:
    """Name the entry that a function checks."""

    def keep(function: Check) -> Check:
        assert title not in CHECKS, f"two checks of {title!r}"
        CHECKS[title] = function
        return function

    return keep


@cache
def entries() -> dict[str, Entry]:
    """Read all entries of the page, by their titles."""
    found: dict[str, Entry] = {}
    for section in re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        heading, _, body = section.partition("\n")
        for part in re.split(r"^### ", body, flags=re.MULTILINE)[1:]:
            title, _, text = part.partition("\n")
            said = re.findall(r"^- \*\*([\w ]+):\*\* (.*?)(?=^- \*\*|\Z)", text, re.MULTILINE | re.DOTALL)
            assert title not in found, f"two entries {title!r}"
            found[title] = Entry(heading, title, {name: " ".join(words.split()) for name, words in said})
    return found


@cache
def settings(*arguments: str) -> dict[str, Any]:
    """Resolve a recipe, with what overrides it, to `{"optim.lr": 0.1}`, as the command line names settings."""
    recipe, *rest = arguments
    files = [recipe, *(f"recipes/{other}" if other.endswith(".yaml") else other for other in rest)]
    return dict(_flat(read_recipe([f"recipes/{files[0]}.yaml", *files[1:]]).settings))


def drop_path_of(recipe: str) -> float:
    """Read what a recipe and its parts say of stochastic depth, which takes less time than to resolve all settings."""
    said = compose([find_recipe(f"recipes/{recipe}.yaml")]).settings
    return said["model"]["drop_path_rate"]


def _flat(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        yield from _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]


@cache
def shape_of(name: str, **kwargs: Any) -> nn.Module:
    """Create a model whose tensors have shapes, but no values."""
    with torch.device("meta"):
        return gpvit.create_model(name, **kwargs)


def zeroed(*modules: nn.Module) -> None:
    """Set all parameters of modules to zero."""
    with torch.no_grad():
        for module in modules:
            for parameter in module.parameters():
                parameter.zero_()


def tokens(*shape: int) -> torch.Tensor:
    """Draw values, always the same."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def truncated(count: float, digits: int = 0) -> str:
    """Write a count in millions, cut off after some digits."""
    scale = 10**digits
    return f"{int(count / 1e6 * scale) / scale:.{digits}f}"


def parameters(module: nn.Module) -> int:
    """Count the parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())
