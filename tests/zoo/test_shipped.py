"""The weights that come with the package: what is said of them holds, and nothing is fetched."""

import json
import shlex

import pytest
import timm
import torch

import gpvit
from gpvit.cli import main
from gpvit.io import sha256
from gpvit.zoo.catalog import MODELS, SHIPPED

NAMES = [f"{name}.{tag}" for name, entry in MODELS.items() for tag, weights in entry.weights.items() if weights.shipped]


def test_each_file_has_a_certificate_and_they_are_small_together():
    stems = {path.stem for path in SHIPPED.glob("*.safetensors")}
    assert stems == {path.stem for path in SHIPPED.glob("*.json")} == set(NAMES)
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 15e6


@pytest.mark.parametrize("name", NAMES)
def test_they_are_what_their_certificates_are_of_and_name_their_classes(name):
    certificate = json.loads((SHIPPED / f"{name}.json").read_text())
    assert certificate["verdict"] == "pass"
    assert certificate["weights"]["sha256"] == sha256(SHIPPED / f"{name}.safetensors")
    predictor = gpvit.Predictor(name)
    assert predictor.model.pretrained_cfg["label_names"][-1]
    assert all(parameter.isfinite().all() for parameter in predictor.model.parameters())


@pytest.mark.parametrize("name", [name for name in NAMES if MODELS[name.partition(".")[0]].task == "classification"])
def test_timm_creates_them(name):
    model, ours = timm.create_model(name, pretrained=True).eval(), gpvit.create_model(name).eval()
    images = torch.rand(2, *model.pretrained_cfg["input_size"])
    torch.testing.assert_close(model(images), ours(images), rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_score_is_measured_again_by_the_certificates_command(name):
    command = shlex.split(json.loads((SHIPPED / f"{name}.json").read_text())["command"])
    flags = [flag for flag in command[2:] if not flag.startswith("--certificate")]
    assert main(["evaluate", *flags]) == 0
