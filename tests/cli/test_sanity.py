from pathlib import Path

import pytest

from gpvit.cli import main

CLASSIFY = str(Path(__file__).parents[2] / "recipes/digits/classify.yaml")
SMALL = ("--data.image_size", "32", "--data.batch_size", "8", "--train.accelerator", "cpu")


def test_a_rate_that_teaches_nothing_is_told_by_the_exit_code(tmp_path, capsys):
    arguments = [CLASSIFY, *SMALL, "--optim.lr", "0", "--steps", "8", "--out", str(tmp_path / "out")]
    assert main(["sanity", *arguments]) == 1
    printed = capsys.readouterr()
    assert "overfit" in printed.out
    assert "gpvit sanity: look at this before you train:\n  the loss of one batch went from" in printed.err
    assert "try another optim.lr (the highest here is 0)" in printed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((CLASSIFY, "--steps", "2"), "steps 2: give 5 or more"),
        (("absent.yaml",), "no recipe at absent.yaml"),
        ((CLASSIFY, "--optim.layer_deca", "1"), "did you mean optim.layer_decay"),
        ((CLASSIFY, "--train.epochs", "-1"), "epochs -1: give 1 or more"),
    ],
)
def test_mistakes_are_named(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["sanity", *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_help_is_its_own(capsys):
    assert main(["sanity", "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: gpvit sanity RECIPE")
    assert "--steps" in text
