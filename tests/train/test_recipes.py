from contextvars import copy_context
from pathlib import Path

import pytest
import yaml

from gpvit.train.recipes import RecipeCLI, resolve_recipe

RECIPE = "recipes/digits/classify.yaml"


def test_every_setting_is_resolved_and_nothing_is_built(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = resolve_recipe(["recipes/imagenet/gpvit_l1.yaml"])  # its data are not there
    assert settings["model"]["init_args"]["betas"] == [0.9, 0.999]
    assert settings["data"]["init_args"]["augmentation"]["erase_probability"] == 0.25
    assert not list(tmp_path.iterdir())


def test_overlays_win_in_their_order_and_the_command_line_over_them(tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("trainer: {max_epochs: 2, accumulate_grad_batches: 2}\nmodel: {init_args: {lr: 1e-4}}")
    second.write_text("trainer: {max_epochs: 3}")
    settings = resolve_recipe([RECIPE, str(first), str(second), "--trainer.accumulate_grad_batches", "4"])
    assert (settings["trainer"]["max_epochs"], settings["trainer"]["accumulate_grad_batches"]) == (3, 4)
    assert settings["model"]["init_args"]["lr"] == 0.0001
    assert settings["model"]["init_args"]["warmup_epochs"] == 2  # of the first recipe
    assert resolve_recipe([RECIPE, str(second), str(first)])["trainer"]["max_epochs"] == 2


def test_what_a_run_writes_down_is_a_recipe_of_the_same_settings(tmp_path):
    (tmp_path / "own.yaml").write_text("base: recipes/digits/classify.yaml\nmodel: {init_args: {lr: 3e-4}}\n")
    settings = resolve_recipe([str(tmp_path / "own.yaml")])
    again = resolve_recipe(["--config", str(write_down(tmp_path, settings))])
    assert again == settings


def write_down(folder: Path, settings: dict) -> Path:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def test_the_run_folder_is_named_after_the_recipes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short.yaml").write_text("trainer: {max_epochs: 1, accelerator: cpu}")
    before = dict(copy_context())
    assert RecipeCLI([RECIPE]).folder.parent == Path("runs/digits-classify")
    assert dict(copy_context()) == before, "what is parsed next must not depend on it"
    assert RecipeCLI([RECIPE, "short.yaml"]).folder.parent == Path("runs/digits-classify+short")
    assert RecipeCLI([RECIPE], Path("mine")).folder == Path("mine")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recipes/coco/schedule_1x.yaml"], "schedule_1x.yaml: no model or no data is named"),
        ([RECIPE, "--out", "x", "more.yaml"], "more.yaml; recipes stand first"),
    ],
)
def test_what_is_not_a_whole_command_says_what_is_missing(arguments, message):
    with pytest.raises(ValueError, match=message):
        resolve_recipe(arguments)
