import json

import pytest
import timm
import torch
from golden import official

from gpvit.analysis.cost import profile_model
from gpvit.cli import main
from gpvit.models.catalog import MODELS


def rows(capsys, *filters):
    assert main(["models", *filters, "--json"]) == 0
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)}


def test_every_model_with_the_authors_exact_figures(capsys):
    listed = rows(capsys)
    assert list(listed) == list(MODELS)
    for level in (1, 2, 3, 4):
        row = listed[f"gpvit_l{level}"]
        counts = official.parameter_counts()["cls"][f"L{level}"]
        assert row["parameters"] == counts["parameters"]
        assert row["weights"] == {"in1k": MODELS[f"gpvit_l{level}"].weights["in1k"].metrics}
        assert row["origin"] == "paper"
    assert listed["gpvit_nano"]["weights"] == {}


@pytest.mark.parametrize("name", MODELS)
def test_the_figures_are_those_that_profile_counts(name, capsys):
    with torch.device("meta"):
        cost = profile_model(timm.create_model(name), (224, 224))
    row = rows(capsys, name)[name]
    assert (row["parameters"], row["macs_at_224"]) == (cost.parameters, cost.macs)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["nano"], ["gpvit_nano"]),
        (["ours"], ["gpvit_nano", "gpvit_tiny"]),
        (["L1"], ["gpvit_l1"]),
        (["paper", "l3"], ["gpvit_l3"]),
        (["classification", "tiny"], ["gpvit_tiny"]),
    ],
)
def test_filters_narrow_the_list(filters, expected, capsys):
    assert list(rows(capsys, *filters)) == expected


def test_table(capsys):
    assert main(["models"]) == 0
    text = capsys.readouterr().out
    line = next(line for line in text.splitlines() if "gpvit_l1" in line)
    assert all(word in line for word in ("9,589,848", "6.10", "80.5", "in1k", "paper"))
    assert all(name in text for name in MODELS)


def test_no_match_is_told(capsys):
    assert main(["models", "l9"]) == 1
    assert "gpvit_l4" in capsys.readouterr().err
