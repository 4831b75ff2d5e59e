"""The page of results says what the files beside it say."""

import inspect
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from gpvit.cli import VERBS
from studies.__main__ import create_parser

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "results.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"`((?:gpvit|python -m studies) [^`]+)`", PAGE)))


def test_every_file_that_is_linked_exists():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", PAGE) if "://" not in link]
    assert len(links) > 20
    for link in links:
        assert (DOCS / link).exists(), link


def test_every_file_of_results_is_linked():
    files = {path.stem for path in (DOCS / "results").iterdir() if path.suffix in (".md", ".png")}
    assert files == {name for name in files if re.search(rf"results/{name}\.(md|png)\)", PAGE)}


def test_quoted_rows_stand_in_the_tables_that_they_are_from():
    quotes = re.findall(r"<!-- from (\S+) -->\n((?:\|.*\n)+)", PAGE)
    assert len(quotes) >= 3
    for file, rows in quotes:
        table = (DOCS / file).read_text(encoding="utf-8").splitlines()
        for row in rows.splitlines():
            assert row in table, f"{file} does not say {row}"


def require_module(words: list[str]) -> None:
    """Check that `-m NAME ...` is one of the studies with its options, or a benchmark."""
    _, module, *options = words
    if module == "studies":
        assert create_parser().parse_args(options).run is not None
    else:
        assert callable(import_module(module).main)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_exists_with_its_options(command):
    program, *words = shlex.split(command)
    if program == "python":
        require_module(words)
        return
    verb, *rest = words
    assert verb in VERBS
    parameters = inspect.signature(getattr(import_module(f"gpvit.cli.{verb}"), verb)).parameters
    for option in (word for word in rest if word.startswith("--")):
        assert option[2:].replace("-", "_") in parameters, option


@pytest.mark.parametrize("path", sorted((DOCS / "results").rglob("*.md")), ids=lambda path: path.stem)
def test_the_command_that_made_a_table_exists(path):
    commands = re.findall(r"^Made by `(.+)`\.$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert commands or path.stem.endswith("_runs")  # which stand beside the table of their means
    for command in commands:
        require_module(shlex.split(command.partition("python ")[2]))
