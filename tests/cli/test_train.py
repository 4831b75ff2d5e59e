import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from lightning import LightningDataModule

from gpvit.cli import main
from gpvit.train.recipes import find_class, read_recipe

RECIPE = str(Path(__file__).parents[2] / "recipes" / "digits" / "classify.yaml")
FAST = [
    *("--data.image_size", "32", "--data.batch_size", "512", "--train.epochs", "1", "--optim.warmup_epochs", "0"),
    *("--train.accelerator", "cpu"),
]


def test_a_recipe_trains_into_its_run_folder_and_the_run_is_resumed_by_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", RECIPE, *FAST, "--train.seed", "7"]) == 0
    (folder,) = tmp_path.glob("runs/digits-classify/*")
    assert str(folder.relative_to(tmp_path)) in capsys.readouterr().out.splitlines()[-1]
    assert json.loads((folder / "metrics.json").read_text())["seed"] == 7
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["train"]["seed"] == 7
    assert config["data"]["image_size"] == 32
    assert config["optim"]["weight_decay"] == 0.05  # defaults are written out
    assert main(["train", "--resume", str(folder), "--train.epochs", "2"]) == 0
    assert json.loads((folder / "metrics.json").read_text())["last"]["epoch"] == 2
    more = ["--out", str(tmp_path / "b"), "--resume", str(folder / "last.ckpt"), "--train.epochs", "3"]
    assert main(["train", RECIPE, *FAST[:4], *more]) == 0
    assert json.loads((tmp_path / "b" / "metrics.json").read_text())["last"]["epoch"] == 3
    assert "epoch 3/3" in capsys.readouterr().out
    assert main(["train", str(folder / "config.yaml"), "--out", str(tmp_path / "b")]) == 1
    assert "holds a run" in capsys.readouterr().err
    assert main(["train", RECIPE, "--resume", str(folder)]) == 1
    assert "data.image_size: 32 there, 64 here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a recipe, such as recipes/digits/classify.yaml"),
        (["--train.epochs", "1"], "give a recipe, such as recipes/digits/classify.yaml"),
        (["absent.yaml"], "no recipe at absent.yaml"),
        ([RECIPE, "--optim.learning_rate", "1"], "there is no setting optim.learning_rate"),
        ([RECIPE, "--model.layer_decay", "1"], "did you mean optim.layer_decay"),
        ([RECIPE, "--model.drop_path", "0.1"], "did you mean drop_path_rate"),
        ([RECIPE, "--train.accelerator", "tpu"], "train.accelerator"),
        ([RECIPE, "--train.accelerator", "gpu", "--train.devices", "99"], "train.accelerator"),
        ([RECIPE, "--model.name", "gpvit_nan"], "did you mean gpvit_nano"),
        ([RECIPE, "--optim.schedule", "step"], "optim.schedule: 'step' given"),
        (["--resume", "absent"], "absent holds no config.yaml"),
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


HELP_ALONE = """
import sys
from gpvit.cli import main
assert main(["train", "--help"]) == 0
assert not {"torch", "lightning", "jsonargparse"} & sys.modules.keys()
"""


def test_help_is_ours_on_a_page_and_loads_no_torch():
    run = subprocess.run([sys.executable, "-c", HELP_ALONE], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert len(lines) <= 45
    assert max(map(len, lines)) <= 120
    assert lines[0].startswith("usage: gpvit train RECIPE")
    assert all(option in run.stdout for option in ("--out", "--resume", "--train.epochs", "--help-all", "ImageFolder"))


def test_what_the_help_names_is_there(capsys):
    assert main(["train", "--help"]) == 0
    text = capsys.readouterr().out
    settings = read_recipe(["recipes/folder/finetune.yaml"]).settings
    for option in re.findall(r"--(\w+\.\w+)", text):
        group, key = option.split(".")
        assert key in settings[group], option
    for line in re.findall(r"^  (?:classification|segmentation|detection) +(.+)$", text, re.MULTILINE):
        for name in line.split(", "):
            assert find_class(name, LightningDataModule)


def test_help_after_a_recipe_explains_its_settings(capsys):
    assert main(["train", RECIPE, "--optim.lr", "0.125", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--data.rotation_degrees" in text
    assert "Peak learning rate. (required, type: float, default: 0.125)" in text
    assert main(["train", "--help-all"]) == 0
    assert "gpvit.data.segmentation.ADE20K" in capsys.readouterr().out
