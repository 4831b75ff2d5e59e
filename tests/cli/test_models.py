import json

import pytest
import torch
from golden import official

from gpvit.cli import main
from gpvit.profile.cost import profile_model
from gpvit.profile.workload import parse_size
from gpvit.zoo.catalog import MODELS
from gpvit.zoo.factory import create_model

# The recorded systems, and how their models' names begin.
SYSTEMS = {
    "cls": "",
    "upernet": "upernet_",
    "segformer": "segformer_",
    "maskrcnn": "mask_rcnn_",
    "retinanet": "retinanet_",
}


def rows(capsys, *filters):
    assert main(["models", *filters, "--json"]) == 0
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)}


def test_every_model_with_the_authors_exact_figures(capsys):
    listed = rows(capsys)
    assert list(listed) == list(MODELS)
    for system, prefix in SYSTEMS.items():
        for level in (1, 2, 3, 4):
            name = f"{prefix}gpvit_l{level}"
            row = listed[name]
            assert row["parameters"] == official.parameter_counts()[system][f"L{level}"]["parameters"]
            assert row["weights"] == {tag: weights.metrics for tag, weights in MODELS[name].weights.items()}
            assert row["origin"] == "paper"
            if system != "cls":
                assert row["macs"] == official.macs()[f"{system}_L{level}"]["total"]
    assert listed["gpvit_nano"]["weights"]["digits"]["top1"] >= 98.5
    assert listed["gpvit_tiny"]["weights"] == {}


AT_ONCE = ("gpvit_nano", "gpvit_l1", "segformer_gpvit_l1", "retinanet_gpvit_nano")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in AT_ONCE)) for n in MODELS])
def test_the_figures_are_those_that_profile_counts(name, capsys):
    with torch.device("meta"):
        model = create_model(name)
    row = rows(capsys, name)[name]
    cost = profile_model(model, parse_size(row["macs_size"]))
    assert (row["parameters"], row["macs"]) == (cost.parameters, cost.macs)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["nano", "classification"], ["gpvit_nano"]),
        (["ours", "upernet"], ["upernet_gpvit_nano", "upernet_gpvit_tiny"]),
        (["L1"], [f"{prefix}gpvit_l1" for prefix in SYSTEMS.values()]),
        (["paper", "l3", "segformer"], ["segformer_gpvit_l3"]),
        (["classification", "tiny"], ["gpvit_tiny"]),
    ],
)
def test_filters_narrow_the_list(filters, expected, capsys):
    assert list(rows(capsys, *filters)) == expected


def test_table_fits_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["models"]) == 0
    text = capsys.readouterr().out
    line = next(line for line in text.splitlines() if "gpvit_l1" in line)
    assert all(word in line for word in ("9,589,848", "6.10", "in1k: 80.5 top1"))
    for name, entry in MODELS.items():
        assert name in text
        assert all(f"{tag}: {next(iter(w.metrics.values()))}" in text for tag, w in entry.weights.items())


def test_no_match_is_told(capsys):
    assert main(["models", "l9"]) == 1
    assert "gpvit_l4" in capsys.readouterr().err
