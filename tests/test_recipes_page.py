import re
from pathlib import Path

import pytest

from docs.recipes_page import TABLES, page
from gpvit.train.composition import compose, find_recipe
from gpvit.zoo.catalog import MODELS

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def text() -> str:
    return page()


def test_the_page_is_what_the_recipes_say(text):
    told = "run `python -m docs.recipes_page`"
    assert (DOCS / "recipes.md").read_text(encoding="utf-8") == text, told


def test_every_published_result_stands_once_with_its_command(text):
    rows = re.findall(r"^\| `(\w+)\.(\w+)` \| (.+) \| `gpvit train (\S+)` \|$", text, re.MULTILINE)
    weights = [(name, tag, each) for name, entry in MODELS.items() for tag, each in entry.weights.items()]
    published = [(name, tag) for name, tag, each in weights if each.metrics and not each.shipped]
    assert len(rows) == 28
    assert {row[:2] for row in rows} == set(published)
    for name, tag, scores, recipe in rows:
        assert compose([find_recipe(recipe)]).settings["model"]["name"] == name
        assert tag.rpartition("_")[2] in (find_recipe(recipe).stem.rpartition("_")[2], "in1k", "ade20k")
        assert [float(score) for score in re.findall(r"([\d.]+) %", scores)] == list(
            MODELS[name].weights[tag].metrics.values()
        )


def test_settings_that_differ_are_bold_or_listed_by_size(text):
    rows = {tuple(line.split(" | ")[0:1]): line for line in text.splitlines() if line.startswith("| `")}
    assert rows[("| `data.masks`",)].split(" | ")[1:5] == ["yes", "yes", "**no**", "**no**"]
    assert "| 0.2 / 0.2 / 0.3 / 0.3 | each recipe |" in text
    assert "| `optim.warmup_epochs` | 15 | default of `ClassificationTask` |" in text
    assert "| `train.epochs` | 300 | `imagenet/defaults.yaml` |" in text
    assert "`train.clip` 1 → 5" in text


def test_its_links_and_files_are_there(text):
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (DOCS / target).is_file(), target
    for name in re.findall(r"`(\w+/\w+\.yaml)`", text):
        assert find_recipe(name).is_file()
    assert sum(len(families) for families in TABLES.values()) * 4 == 28
