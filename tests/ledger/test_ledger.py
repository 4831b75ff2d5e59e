"""The ledger, docs/paper-vs-code.md: every entry is whole, names what exists, and says what the code does."""

import re
from importlib import import_module

import pytest
from ledger.page import CHECKS, PAGE, ROOT, entries, settings

from gpvit.cli import VERBS

for _section in ("backbone", "classification", "segmentation", "detection", "ours_alone"):
    import_module(f"ledger.{_section}")  # fills CHECKS

DIFFERENCE = ["Paper", "Released code", "Ours", "Switch", "Where"]
RECIPES = {  # whose options an entry may name
    "Classification": ("imagenet/gpvit_l1",),
    "Segmentation": ("ade20k/segformer_gpvit_l1",),
    "Detection": ("coco/retinanet_gpvit_l1_3x",),
    "Ours alone": ("ade20k/segformer_gpvit_l1", "coco/retinanet_gpvit_l1_3x"),
}


def test_every_entry_has_a_check_and_every_check_an_entry():
    assert sorted(CHECKS) == sorted(entries())


@pytest.mark.parametrize("title", CHECKS)
def test_the_code_does_what_the_entry_says(title):
    CHECKS[title](entries()[title])


def test_every_entry_is_whole():
    for entry in entries().values():
        expected = DIFFERENCE[1:] if entry.section == "Ours alone" else DIFFERENCE
        assert list(entry.parts) == expected, entry.title
        assert all(entry.parts.values()), entry.title
        switch = entry.parts["Switch"]
        assert re.match(r"`|none: [a-z]", switch), f"{entry.title}: name a switch, or say why there is none"


def test_every_place_and_file_exists():
    for entry in entries().values():
        where = entry.parts["Where"]
        places = re.findall(r"`(\w+)` in `([\w/.]+)`", where)
        for name, file in places:
            source = (ROOT / "src" / "gpvit" / file).read_text(encoding="utf-8")
            assert re.search(rf"^(class|def) {name}\b|^{name}\b.* = ", source, re.MULTILINE), f"{name} in {file}"
        recipes = re.findall(r"`(recipes/[\w/.]+)`", where)
        assert len(places) * 2 + len(recipes) == where.count("`") // 2, f"{entry.title}: {where}"
        assert places or recipes
    for file in re.findall(r"(?:recipes|docs|tests)/[\w/.]*\w", PAGE.read_text(encoding="utf-8")):
        assert (ROOT / file).exists(), file


def test_every_option_and_verb_exists():
    text = PAGE.read_text(encoding="utf-8")
    assert set(re.findall(r"gpvit (\w+)[` ]", text.replace("import gpvit", ""))) <= VERBS.keys()
    options = [
        (e, o) for e in entries().values() for o in re.findall(r"`--((?:model|data|optim|train)\.[\w.]+)", str(e.parts))
    ]
    assert len(options) > 15
    for entry, option in options:
        known = [settings(recipe) for recipe in RECIPES[entry.section]]
        assert any(option in each for each in known), f"{entry.title}: {option}"


def test_every_link_leads_to_a_heading_and_the_example_runs():
    text = PAGE.read_text(encoding="utf-8")
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in entries()}
    links = re.findall(r"\]\(#(.*?)\)", text)
    assert len(links) == 7
    assert set(links) <= anchors
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict = {}
    exec(example, names)
    blocks = names["model"].blocks
    assert [hasattr(block.dwconv, "norm") for block in blocks] == [False] * 12
    assert [hasattr(block, "group_tokens") for block in blocks].count(True) == 4
