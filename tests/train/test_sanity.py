from pathlib import Path

import pytest
from PIL import Image

from gpvit.cli import main
from gpvit.train.sanity import try_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
SMALL = {
    "digits/classify.yaml": ("--data.image_size", "32", "--data.batch_size", "8"),
    "digit_scenes/segment.yaml": (*("--data.image_size", "64", "--data.batch_size", "2", "--data.train_scenes", "40"),),
    "digit_scenes/detect.yaml": (
        *("--data.image_size", "64", "--model.model_kwargs.min_size", "64", "--data.batch_size", "2"),
        *("--data.train_scenes", "40"),
    ),
}
OUTPUTS = {
    "digits/classify.yaml": "(8, 10) float32",
    "digit_scenes/segment.yaml": "(2, 11, 64, 64) float32",
    "digit_scenes/detect.yaml": "2 times, first {boxes (",
}
CLASSIFY = str(RECIPES / "digits/classify.yaml")


@pytest.mark.parametrize(
    "recipe", [pytest.param(name, marks=[pytest.mark.slow] * ("detect" in name)) for name in SMALL]
)
def test_a_sound_recipe_is_found_so_and_described(recipe, tmp_path):
    arguments = [str(RECIPES / recipe), *SMALL[recipe], "--trainer.accelerator", "cpu", "--out", str(tmp_path / "out")]
    report = try_recipe(arguments)
    assert report.suspicions == []
    facts = dict(report.facts)
    assert facts["output"].startswith(OUTPUTS[recipe])
    first, last = (float(facts["overfit"].split()[place]) for place in (1, 3))
    assert last < 0.31 * first
    assert " classes: " in facts["labels"]
    assert "steps" in facts["run"]
    assert "GiB" in facts["memory"]
    assert Path(facts["sheet"]).parent == tmp_path / "out"
    assert min(Image.open(facts["sheet"]).size) > 150
    assert {path.suffix for path in (tmp_path / "out").iterdir()} <= {".png", ".csv"}  # no run has begun


def odd(kind: str, tmp_path: Path) -> list[str]:
    data = ("--data", "tasks.odd_digits.OddDigits", "--data.odd", kind)
    recipe = tmp_path / "recipe.yaml"
    lines = Path(CLASSIFY).read_text().split("data:")[0]
    recipe.write_text(lines + f"data:\n  class_path: {data[1]}\n  init_args: {{odd: {kind}}}\n")
    return [str(recipe), "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--out", str(tmp_path / "out")]


@pytest.mark.parametrize(
    ("kind", "messages"),
    [
        ("slow", ["loading a batch takes 0.3"]),
        ("one_class", ["every label of 32 training images is '3'"]),
        ("blank", ["the images are all of one colour", "the loss of one batch went from"]),
        ("not_finite", ["the images hold values that are not finite", "the loss is nan"]),
    ],
)
def test_what_is_wrong_is_said(kind, messages, tmp_path):
    suspicions = "\n".join(try_recipe([*odd(kind, tmp_path), "--steps", "40"]).suspicions)
    assert all(message in suspicions for message in messages)


def test_a_rate_that_teaches_nothing_is_told_by_the_exit_code(tmp_path, capsys):
    arguments = [CLASSIFY, *SMALL["digits/classify.yaml"], "--trainer.accelerator", "cpu", "--model.lr", "0"]
    assert main(["sanity", *arguments, "--steps", "8", "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert "overfit" in said.out
    assert "gpvit sanity: suspicious:\n  the loss of one batch went from" in said.err
    assert "try another model.lr (the highest here was 0)" in said.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((CLASSIFY, "--steps", "2"), "steps 2: give 5 or more"),
        (("absent.yaml",), "no recipe at absent.yaml"),
        ((CLASSIFY, "--model.layer_deca", "1"), "did you mean layer_decay"),
        ((CLASSIFY, "--trainer.max_epochs", "-1"), "the run has no end"),
    ],
)
def test_mistakes_are_named(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["sanity", *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_help_is_its_own(capsys):
    with pytest.raises(SystemExit) as end:
        main(["sanity", "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: gpvit sanity RECIPE")
    assert "--steps" in text
