from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from lightning import LightningModule

from gpvit import tasks
from gpvit.data import Digits
from gpvit.errors import UserError
from gpvit.tasks.optim import OptimConfig
from gpvit.train import recipes
from gpvit.train.advice import suspicions, verdict
from gpvit.train.config import TrainConfig
from gpvit.train.recipes import explain_all, read_recipe, split_arguments, train_recipe

RECIPE = "recipes/digits/classify.yaml"


def test_every_setting_is_resolved_and_no_data_are_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = read_recipe(["recipes/imagenet/gpvit_l1.yaml"]).settings  # its data are not there
    assert list(settings) == ["model", "data", "optim", "train"]
    assert settings["optim"]["betas"] == [0.9, 0.999]
    assert settings["data"]["augmentation"]["erase_probability"] == 0.25
    assert settings["train"]["ema"] is None
    assert not list(tmp_path.iterdir())


def test_overlays_win_in_their_order_and_the_command_line_over_them(tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("train: {epochs: 2, accumulate: 2}\noptim: {lr: 1e-4}")
    second.write_text("train: {epochs: 3}")
    settings = read_recipe([RECIPE, str(first), str(second), "--train.accumulate=4"]).settings
    assert (settings["train"]["epochs"], settings["train"]["accumulate"]) == (3, 4)
    assert settings["optim"]["lr"] == 0.0001
    assert settings["optim"]["warmup_epochs"] == 2  # of the first recipe
    assert read_recipe([RECIPE, str(second), str(first)]).settings["train"]["epochs"] == 2


def test_a_recipe_builds_the_task_the_data_and_the_settings_of_the_run():
    given = ["--optim.freeze", "3", "--train.steps", "5", "--model.block_kwargs.x", "1e-1"]
    task, data, config = read_recipe([RECIPE, *given[:4]]).build()
    assert type(task) is tasks.ClassificationTask
    assert task.optim == OptimConfig(lr=0.0015, warmup_epochs=2, min_lr_ratio=0.01, freeze=3)  # over the task's own
    assert (type(data), data.batch_size) == (Digits, 64)
    assert config == TrainConfig(steps=5, validate_every=None)


def test_a_text_of_the_command_line_has_the_type_that_the_class_declares(tmp_path):
    given = ["--data.class", "ImageFolder", "--data.root", "2024", "--data.preprocessing.input_size", "[3, 32, 32]"]
    more = [
        "--model.weights",
        "7",
        "--model.drop_path_rate",
        "1e-1",
        "--optim.betas",
        "[0.9, 1e-1]",
        "--train.ema=null",
    ]
    settings = read_recipe([RECIPE, *given, *more]).settings
    assert settings["data"]["root"] == "2024"
    assert settings["data"]["preprocessing"]["input_size"] == [3, 32, 32]
    assert (settings["model"]["weights"], settings["model"]["drop_path_rate"]) == ("7", 0.1)
    assert settings["optim"]["betas"] == [0.9, 0.1]
    assert settings["train"]["ema"] is None


def test_what_a_run_writes_down_is_a_recipe_of_the_same_settings(tmp_path):
    (tmp_path / "own.yaml").write_text("base: recipes/digits/classify.yaml\noptim: {lr: 3e-4}\n")
    settings = read_recipe([str(tmp_path / "own.yaml")]).settings
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    assert read_recipe([str(tmp_path / "config.yaml")]).settings == settings


def test_the_run_folder_is_named_after_the_recipes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short.yaml").write_text("train: {epochs: 1, accelerator: cpu}")
    assert read_recipe([RECIPE]).out.parent == Path("runs/digits-classify")
    assert read_recipe([RECIPE, "short.yaml"]).out.parent == Path("runs/digits-classify+short")
    assert read_recipe([RECIPE, "--out", "mine"]).out == Path("mine")


def test_a_run_is_resumed_by_its_folder_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = Path("run")
    run.mkdir()
    settings = read_recipe([RECIPE, "--optim.lr", "0.5"]).settings
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    for arguments in (["--resume", "run"], ["--resume", "--out", "run"], ["--out", "run", "--resume"]):
        recipe = read_recipe(arguments)
        assert (recipe.out, recipe.resume, recipe.settings) == (run, True, settings)
    (run / "last.ckpt").touch()
    assert read_recipe(["--resume", "run/last.ckpt"]).out == run
    elsewhere = read_recipe(["--resume", "run", "--out", "new", "--train.epochs", "20"])
    assert (elsewhere.out, elsewhere.resume) == (Path("new"), run)
    assert elsewhere.settings["train"]["epochs"] == 20
    assert read_recipe([RECIPE, "--resume", "run"]).settings["optim"]["lr"] == 0.0015  # compared by what continues
    with pytest.raises(FileNotFoundError, match=r"absent holds no config\.yaml"):
        read_recipe(["--resume", "absent"])
    with pytest.raises(UserError, match="name the run folder"):
        read_recipe(["--resume"])


def test_classes_of_the_working_folder_train(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_own_code.py").write_text(
        "from lightning import LightningModule\nfrom gpvit.data import Digits\n"
        "from gpvit.tasks import ClassificationTask\n"
        "class Mine(LightningModule):\n    def __init__(self, width: int = 3):\n        super().__init__()\n"
        "        self.width = width\n"
        "class Ours(ClassificationTask):\n    def __init__(self, extra: int, **kwargs):\n"
        "        super().__init__(**kwargs)\n        self.extra = extra\n"
        "class Data(Digits):\n    def __init__(self, fold: int, **kwargs):\n        super().__init__(**kwargs)\n"
    )
    (tmp_path / "a.yaml").write_text(
        "model: {class: my_own_code.Mine, width: 5}\ndata: {class: my_own_code.Data, fold: 1, image_size: 32}\n"
        "train: {epochs: 1}\n"
    )
    recipe = read_recipe(["a.yaml"])
    task, data, _ = recipe.build()
    assert isinstance(task, LightningModule)
    assert task.width == 5
    assert data.preprocessing.input_size == (1, 32, 32)
    assert "optim" not in recipe.settings
    with pytest.raises(UserError, match=r"no setting optim"):
        read_recipe(["a.yaml", "--optim.lr", "0.1"])
    with pytest.raises(UserError, match=r"no setting model\.widtth; did you mean model\.width"):
        read_recipe(["a.yaml", "--model.widtth", "4"])
    task = read_recipe([RECIPE, "--model.class", "my_own_code.Ours", "--model.extra=2", "--model.name=gpvit_nano"])
    assert task.create_task().optim.warmup_epochs == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a recipe, such as recipes/digits/classify.yaml"),
        (["recipes/coco/schedule_1x.yaml"], "schedule_1x.yaml: model.name or data.class is missing; is it a part of"),
        ([RECIPE, "--out", "x", "more.yaml"], "more.yaml: recipes come first"),
    ],
)
def test_what_is_not_a_whole_command_says_what_is_missing(arguments, message):
    with pytest.raises(UserError, match=message):
        read_recipe(arguments)


def test_arguments_are_split_into_recipes_and_options():
    assert split_arguments(["a", "b", "--x.y", "-1", "--z=a=b", "--resume"]) == (
        ["a", "b"],
        {"x.y": "-1", "z": "a=b", "resume": ""},
    )


def test_every_setting_is_explained_with_its_value():
    text = read_recipe([RECIPE, "--model.drop_path_rate", "0.3"]).help
    text = " ".join(text.split())
    for line in (
        "--model.drop_path_rate",
        "--data.image_size",
        "Peak learning rate",
        "default: 0.0015",
        "--train.epochs",
    ):
        assert line in text
    assert "CONFIG" not in text
    text = explain_all()
    for name in ("gpvit.tasks.DetectionTask", "gpvit.data.ImageFolder", "gpvit.data.detection.COCO", "--optim.lr"):
        assert name in text


@pytest.mark.parametrize(("top1", "is_chance"), [(0.1, True), (0.11, True), (0.2, False)])
def test_a_score_at_chance_is_reported(top1, is_chance, monkeypatch, capsys):
    monkeypatch.setattr(recipes, "fit", lambda *_, **__: {"best": {"val/top1": top1}})
    train_recipe([RECIPE])
    assert ("is at chance (0.1 for 10 classes)" in capsys.readouterr().out) == is_chance


ROW = {"step": 300, "train/loss": 0.5}


@pytest.mark.parametrize(
    ("recipe", "rows", "message"),
    [
        ("finetune", {"best": {"val/top1": 0.34}}, "val/top1 0.34 is at chance (0.33 for 3 classes)"),
        ("segment", {"best": {"val/macc": 0.3334, "val/miou": 0.21}}, "val/macc 0.333 is at chance (0.33 for 3"),
        ("detect", {"best": {"val/box_ap50": 0.004}}, "val/box_ap50 0.004 is at chance (0 for 3 classes)"),
        ("detect", {"best": {"val/box_ap50": 0.5}, "first": {**ROW, "step": 9}}, "the loss did not fall: it was 0.5"),
        ("detect", {"best": {"val/box_ap50": 0.5}, "first": {"step": 9, "train/loss": 0.6}}, ""),
        ("segment", {"best": {"val/macc": 0.9}, "first": ROW}, ""),  # of an only row
    ],
)
def test_a_run_that_learned_nothing_says_what_to_change(recipe, rows, message):
    settings = read_recipe([f"recipes/folder/{recipe}.yaml", "--data.root", "x"])
    data = SimpleNamespace(num_classes=3, batch_size=8)
    said = verdict(settings.create_task(), data, settings.config, {"last": ROW, **rows})
    assert said.startswith(message)
    assert bool(message) == bool(said)
    assert not said or "What to change: train longer (--train.epochs)" in said


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        ((), []),
        (("--data.augmentation.rand_augment", "rand-m9"), ["rand_augment hide", "data.augmentation.rand_augment null"]),
        (("--data.augmentation.erase_probability", "0.25"), ["90 training images", "erase_probability 0"]),
        (("--optim.lr", "0.002"), ["optim.lr 0.002 is high for 8 images a step from random weights: give 0.0003"]),
        (("--optim.lr", "0.002", "--model.weights", "in1k", "--model.name", "gpvit_l1"), []),
    ],
)
def test_settings_that_are_known_not_to_learn_are_suspicious(options, messages):
    recipe = read_recipe(["recipes/folder/small/classify.yaml", "--data.root", "x", *options])
    data = SimpleNamespace(train_set=range(90), augmentation=recipe.create_data.args[-1].keywords["augmentation"])
    found = "\n".join(suspicions(recipe.create_task(), data, total_steps=150, images_per_step=8))
    assert all(message in found for message in messages)
    assert bool(messages) == bool(found)
    assert "raise train.epochs" in suspicions(recipe.create_task(), data, 10, 8)[0]
