import json
from pathlib import Path

import pytest
import yaml

from gpvit.cli import main

RECIPE = str(Path(__file__).parents[2] / "recipes" / "digits" / "classify.yaml")
FAST = [
    *("--data.image_size", "32", "--data.batch_size", "8", "--trainer.max_epochs", "1"),
    *("--trainer.limit_train_batches", "2", "--trainer.limit_val_batches", "2", "--trainer.accelerator", "cpu"),
]


def test_a_recipe_trains_into_its_run_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", RECIPE, *FAST, "--seed_everything", "7"]) == 0
    (folder,) = tmp_path.glob("runs/digits-classify/*")
    assert str(folder.relative_to(tmp_path)) in capsys.readouterr().out.splitlines()[-1]
    assert json.loads((folder / "metrics.json").read_text())["seed"] == 7
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["seed_everything"] == 7
    assert config["data"]["init_args"]["image_size"] == 32
    assert config["model"]["init_args"]["weight_decay"] == 0.05  # defaults are written out


def test_a_run_can_be_named_and_resumed(tmp_path, capsys):
    assert main(["train", RECIPE, *FAST, "--out", str(tmp_path / "a")]) == 0
    more = ["--out", str(tmp_path / "b"), "--resume", str(tmp_path / "a" / "last.ckpt"), "--trainer.max_epochs", "2"]
    assert main(["train", RECIPE, *FAST, *more]) == 0
    assert json.loads((tmp_path / "b" / "metrics.json").read_text())["last"]["epoch"] == 2
    assert "epoch 2/2" in capsys.readouterr().out
    assert main(["train", str(tmp_path / "a" / "config.yaml"), "--out", str(tmp_path / "a")]) == 1
    assert "is not empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a recipe, as recipes/digits/classify.yaml"),
        (["--trainer.max_epochs", "1"], "give a recipe, as recipes/digits/classify.yaml"),
        (["absent.yaml"], "no recipe at absent.yaml"),
        ([RECIPE, "--model.learning_rate", "1"], "'learning_rate' is not accepted"),
        ([RECIPE, "--model.layer_deca", "1"], "did you mean layer_decay"),
        ([RECIPE, "--trainer.max_epoch", "1"], "did you mean --trainer.max_epochs"),
        ([RECIPE, "--model.model_kwargs", '{"drop_path": 0.1}'], "did you mean drop_path_rate"),
        ([RECIPE, "--trainer.accelerator", "tpu"], "trainer: "),
        ([RECIPE, "--trainer.accelerator", "gpu", "--trainer.devices", "99"], "trainer: "),
        ([RECIPE, "--data.image_size", "big"], "image_size"),
        ([RECIPE, "--model.name", "gpvit_nan"], "did you mean gpvit_nano"),
        ([RECIPE, "--trainer.default_root_dir", "x"], "set by --out"),
    ],
)
def test_mistakes_are_named_and_leave_no_trace(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("gpvit train: ")
    assert message in error
    assert "Union" not in error
    assert not list(tmp_path.iterdir())


def test_a_misspelt_key_in_the_recipe_is_named(tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(Path(RECIPE).read_text().replace("max_epochs", "max_epoks"))
    assert main(["train", str(recipe)]) == 1
    assert "max_epoks" in capsys.readouterr().err


def test_help_names_the_recipe_and_the_settings(capsys):
    with pytest.raises(SystemExit) as end:
        main(["train", "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: gpvit train RECIPE")
    assert all(option in text for option in ("--out", "--resume", "--trainer.max_epochs", "--seed_everything"))
