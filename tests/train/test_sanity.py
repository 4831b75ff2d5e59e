from pathlib import Path

import pytest
from PIL import Image
from shapes import write_crops

from gpvit.train.sanity import try_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
SMALL = {
    "digits/classify.yaml": ("--data.image_size", "32", "--data.batch_size", "8"),
    "digit_scenes/segment.yaml": (*("--data.image_size", "64", "--data.batch_size", "2", "--data.train_scenes", "40"),),
    "digit_scenes/detect.yaml": (
        *("--data.image_size", "64", "--model.min_size", "64", "--data.batch_size", "2"),
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
    "recipe", [pytest.param(name, marks=[pytest.mark.slow] * ("scenes" in name)) for name in SMALL]
)
def test_a_sound_recipe_is_found_so_and_described(recipe, tmp_path):
    arguments = [str(RECIPES / recipe), *SMALL[recipe], "--train.accelerator", "cpu", "--out", str(tmp_path / "out")]
    report = try_recipe(arguments)
    assert [each for each in report.problems if "warm-up" not in each] == []
    facts = dict(report.facts)
    assert facts["output"].startswith(OUTPUTS[recipe])
    first, last = (float(facts["overfit"].split()[place]) for place in (1, 3))
    assert last < 0.31 * first
    assert " classes in the " in facts["labels"]
    assert "steps" in facts["run"]
    assert "GiB" in facts["memory"]
    assert Path(facts["sheet"]).parent == tmp_path / "out"
    assert min(Image.open(facts["sheet"]).size) > 150
    assert {path.suffix for path in (tmp_path / "out").iterdir()} <= {".png", ".csv"}  # no run has begun


def odd(kind: str, tmp_path: Path) -> list[str]:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"base: {CLASSIFY}\ndata: {{class: tasks.odd_digits.OddDigits, odd: {kind}}}\n")
    return [str(recipe), "--train.epochs", "1", "--train.accelerator", "cpu", "--out", str(tmp_path / "out")]


@pytest.mark.parametrize(
    ("kind", "messages"),
    [
        pytest.param("slow", ["loading a batch takes 0.3"], marks=pytest.mark.slow),
        ("one_class", ["every label of 32 training images is '3'"]),
        pytest.param(
            "blank", ["images are all of one colour", "the loss of one batch went from"], marks=pytest.mark.slow
        ),
        ("not_finite", ["the images hold values that are not finite", "the loss is nan"]),
    ],
)
def test_what_is_wrong_is_said(kind, messages, tmp_path):
    problems = "\n".join(try_recipe([*odd(kind, tmp_path), "--steps", "40"]).problems)
    assert all(message in problems for message in messages)


def test_a_warm_up_that_is_longer_than_the_run_is_reported(tmp_path):
    arguments = [CLASSIFY, *SMALL["digits/classify.yaml"], "--train.accelerator", "cpu", "--out", str(tmp_path / "out")]
    report = try_recipe([*arguments, "--optim.warmup_epochs", "20", "--steps", "5"])
    assert any("the warm-up of 3240 steps is not shorter than the run of 1620" in each for each in report.problems)


def test_a_recipe_that_is_known_not_to_learn_is_suspicious(tmp_path):
    write_crops(tmp_path / "own", train=8, val=1)
    strong = ["--data.augmentation.rand_augment", "rand-m9-n2", "--data.augmentation.erase_probability", "0.25"]
    long = ["--optim.warmup_steps", "200", "--optim.lr", "0.002", "--data.preprocessing.input_size", "[3, 32, 32]"]
    options = ["--data.root", str(tmp_path / "own"), "--out", str(tmp_path / "out"), "--train.accelerator", "cpu"]
    report = try_recipe(["recipes/folder/small/classify.yaml", *options, *strong, *long, "--steps", "5"])
    found = "\n".join(report.problems)
    for message in (
        "the warm-up of 200 steps is not shorter than the run of 90",
        "rand_augment and erase_probability hide too much for a model from random weights and 24 training images",
        "optim.lr 0.002 is high for 8 images a step from random weights: give 0.0003",
    ):
        assert message in found
