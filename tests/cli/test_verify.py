import json
import shutil

import pytest
import torch

import gpvit
from gpvit.cli import main
from gpvit.data import Digits
from gpvit.tasks import evaluate_classifier


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A file of weights of random values, and their score."""
    torch.manual_seed(0)
    path, data = tmp_path_factory.mktemp("weights") / "mine.safetensors", Digits(image_size=32)
    model = gpvit.create_model("gpvit_nano", num_classes=10, in_chans=1, img_size=32)
    gpvit.save(model, path, data.class_names, data.preprocessing.to_dict())
    return path, evaluate_classifier(gpvit.load(path), data, "cpu")["top1"]


@pytest.fixture
def weights(scored, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path, score = scored
    shutil.copyfile(path, path.name)
    return score


def test_a_score_that_agrees_is_certified(weights, tmp_path, capsys):
    arguments = ["verify", "mine.safetensors", "--data", "digits", "--expect", str(weights), "--tolerance", "0.001"]
    assert main([*arguments, "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "agrees" in out
    assert "pass: mine.safetensors on digits, 500 images; mine.certificate.json" in out
    certificate = json.loads((tmp_path / "mine.certificate.json").read_text())
    assert certificate["verdict"] == "pass"
    assert certificate["command"] == f"gpvit {' '.join(arguments)}"


def test_one_that_differs_is_told_by_the_exit_code_and_certified_too(weights, tmp_path, capsys):
    arguments = ["verify", "mine.safetensors", "--data", "digits", "--expect", "0.9", "--out", "deep/c.json"]
    assert main([*arguments, "--device", "cpu"]) == 1
    said = capsys.readouterr()
    assert "differs" in said.out
    assert f"top1 is {weights:.2%}, 90.00% was expected, within 0.20%" in said.err
    assert json.loads((tmp_path / "deep" / "c.json").read_text())["verdict"] == "fail"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mine.safetensors"], "say what to evaluate on: --data FOLDER"),
        (["mine.safetensors", "--data", "digits"], "nothing is published for mine.safetensors"),
        (["mine.safetensors", "--data", "digits", "--metric", "top5"], "leave out --metric, or say by --expect"),
        (["gpvit_l1", "--data", "digits"], "names no trained weights"),
        (["gpvit_l1.in22k", "--data", "digits"], "no weights 'in22k'"),
        (["absent.safetensors", "--data", "digits"], "absent.safetensors: no such file of weights"),
        (["mine.safetensors", "--data", "nowhere", "--expect", "0.5"], "nowhere: no such folder"),
    ],
)
def test_mistakes_are_named_and_leave_no_certificate(arguments, message, weights, tmp_path, capsys):
    assert main(["verify", *arguments]) == 1
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.safetensors"]
