import csv
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import ImageChops

import gpvit
from gpvit.errors import UserError
from studies.__main__ import main

pytest.importorskip("peft", reason="make test-tools installs it")
from studies.experiments import fine_tuning
from studies.experiments.fine_tuning import METHODS, compare, fine_tune
from studies.experiments.letters import FONTS, LETTERS, Letters, draw_letter


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    torch.manual_seed(0)
    model = gpvit.create_model("gpvit_nano", num_classes=10, in_chans=1, img_size=64)
    gpvit.save(model, path := tmp_path_factory.mktemp("reader") / "reader.safetensors")
    return str(path)


def test_letters_are_the_same_again_and_more_of_them_hold_the_fewer():
    few, more, others = Letters(1).training_samples(), Letters(2).training_samples(), Letters(1, 1).training_samples()
    assert few.tensors[0].shape == (len(LETTERS), 1, 64, 64)
    assert torch.equal(more.tensors[0][::2], few.tensors[0])
    assert not torch.equal(others.tensors[0], few.tensors[0])
    assert more.tensors[1].tolist() == sorted([*range(len(LETTERS))] * 2)


def test_every_font_draws_every_letter_differently():
    assert not set(FONTS["train"]) & set(FONTS["val"])
    for font in FONTS["train"] + FONTS["val"]:
        drawn = [draw_letter(letter, [font], np.random.default_rng(0)) for letter in LETTERS]
        assert all(ImageChops.difference(a, b).getbbox() for a, b in pairwise(drawn)), font


@pytest.mark.parametrize("number", range(len(METHODS)), ids=lambda number: METHODS[number].label)
def test_what_learns_is_what_the_method_says(number, reader, monkeypatch):
    monkeypatch.setattr(fine_tuning, "BATCH", 4)
    came = fine_tune(METHODS[number], Letters(1, 0, val_per_class=1), reader, steps=1, seed=0)
    assert 0 <= came["top1"] <= 1
    network = gpvit.create_model("gpvit_nano", num_classes=24, in_chans=1, img_size=64)
    whole = sum(parameter.numel() for parameter in network.parameters())
    share = {"pretrained, frozen backbone": 0.01, "pretrained, LoRA": 0.15}.get(METHODS[number].label, 1.0)
    assert came["learned"] == pytest.approx(share * whole, rel=0.4 * (share < 1))


def test_a_study_resumes_and_gives_mean_and_spread(tmp_path, monkeypatch):
    trained = []

    def learn(method, data, weights, steps, seed):
        trained.append((method.label, data.per_class, seed))
        return {"top1": 0.5 + 0.1 * seed, "learned": 7, "seconds": 1.0}

    monkeypatch.setattr(fine_tuning, "fine_tune", learn)
    two = [replace(METHODS[0], label="a"), METHODS[1]]
    compare(tmp_path, "x", seeds=1, per_class=(1,), methods=two, log=lambda line: None)
    table, rows, paths = compare(tmp_path, "x", seeds=2, per_class=(1, 2), methods=two, log=lambda line: None)
    assert len(trained) == len(set(trained)) == len(rows) == 8
    assert [row["top1_2"] for row in table.rows] == ["55.0 ± 7.1"] * 2
    with open(tmp_path / "fine_tuning_runs.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 8
    assert all(path.is_file() for path in paths)
    with pytest.raises(UserError, match="seeds is 0"):
        compare(tmp_path, "x", seeds=0)


def test_the_verb_writes_table_and_chart(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fine_tuning, "fine_tune", lambda *_: {"top1": 0.5, "learned": 7, "seconds": 1.0})
    assert main(["fine_tuning", "x", "--quick", "--out", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        f"fine_tuning{end}" for end in ("_runs.csv", "_runs.md", ".csv", ".md", ".png", ".svg")
    }
    assert "Made by `python -m studies fine_tuning x --quick`" in (tmp_path / "fine_tuning.md").read_text()
