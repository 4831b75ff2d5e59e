import csv

import pytest

import gpvit
from gpvit.demo.letters import write_letters
from gpvit.errors import UserError
from studies.__main__ import main

pytest.importorskip("peft", reason="make test-tools installs it")
from studies.experiments import fine_tuning
from studies.experiments.fine_tuning import METHODS, compare, fine_tune

RESULT = {"top1": 0.5, "learned": 7, "seconds": 1.0}


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    write_letters(folder := tmp_path_factory.mktemp("letters") / "letters", train=2, val=1)
    return folder


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.label)
@pytest.mark.slow
def test_what_learns_is_what_the_method_says(method, letters):
    came = fine_tune(method, letters, 1, seed=0, train__steps=1, data__batch_size=2)
    assert 0 <= came["top1"] <= 1
    network = gpvit.create_model("gpvit_nano", num_classes=26, in_chans=1, img_size=64)
    whole = sum(parameter.numel() for parameter in network.parameters())
    low, high = {"pretrained, frozen backbone": (0, 0.01), "pretrained, LoRA": (0.1, 0.2)}.get(method.label, (1, 1))
    assert low * whole <= came["learned"] <= high * whole


def test_a_study_resumes_and_gives_mean_and_spread(tmp_path, monkeypatch):
    trained = []

    def learn(method, letters, per_class, seed):
        trained.append((method.label, per_class, seed))
        return {**RESULT, "top1": 0.5 + 0.1 * seed}

    monkeypatch.setattr(fine_tuning, "fine_tune", learn)
    monkeypatch.setattr(fine_tuning, "VALIDATION", 1)
    compare(tmp_path, seeds=1, per_class=(1,), log=lambda line: None)
    table, rows, paths = compare(tmp_path, seeds=2, per_class=(1, 2), log=lambda line: None)
    assert len(trained) == len(set(trained)) == len(rows) == 4 * len(METHODS)
    assert [row["top1_2"] for row in table.rows] == ["55.0 ± 7.1"] * len(METHODS)
    with open(tmp_path / "fine_tuning_runs.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(rows)
    assert all(path.is_file() for path in paths)
    with pytest.raises(UserError, match="seeds is 0"):
        compare(tmp_path, seeds=0)


def test_the_verb_writes_table_and_chart(tmp_path, monkeypatch):
    monkeypatch.setattr(fine_tuning, "fine_tune", lambda *_, **__: RESULT)
    monkeypatch.setattr(fine_tuning, "VALIDATION", 1)
    assert main(["fine_tuning", "--quick", "--out", str(tmp_path)]) == 0
    endings = ("_runs.csv", "_runs.md", ".csv", ".md", ".png", ".svg")
    assert {path.name for path in tmp_path.iterdir()} == {f"fine_tuning{ending}" for ending in endings}
    assert "Made by `python -m studies fine_tuning --quick`" in (tmp_path / "fine_tuning.md").read_text()
