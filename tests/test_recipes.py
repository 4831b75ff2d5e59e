"""Every recipe in the repository is read against the signatures of the classes it names."""

from pathlib import Path

import pytest
import yaml

from gpvit.tasks import train_recipe

FOLDER = Path(__file__).parents[1] / "recipes"
RECIPES = sorted(FOLDER.rglob("*.yaml"))


def resolve(recipe: Path, capsys: pytest.CaptureFixture, *overrides: str) -> dict:
    with pytest.raises(SystemExit) as end:
        train_recipe([str(recipe), *overrides, "--print_config"])
    assert end.value.code == 0
    return yaml.safe_load(capsys.readouterr().out)


def test_there_are_recipes():
    assert len(RECIPES) >= 6


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_recipe_fits_the_signatures_and_says_what_to_expect(recipe, capsys):
    config = resolve(recipe, capsys)
    assert config["model"]["class_path"] == "gpvit.tasks.ClassificationTask"
    head = recipe.read_text().split("model:")[0]
    assert all(word in head for word in ("Hardware:", "Expected"))


@pytest.mark.parametrize(("level", "drop_path"), [(1, 0.2), (2, 0.2), (3, 0.3), (4, 0.3)])
def test_imagenet_recipes_are_the_released_configuration(level, drop_path, capsys):
    config = resolve(FOLDER / "imagenet" / f"gpvit_l{level}.yaml", capsys)
    assert config["model"]["init_args"] == {
        "name": f"gpvit_l{level}",
        "model_kwargs": {"drop_path_rate": drop_path},
        "weights": None,
        "lr": 5e-4 * 2048 / 512,
        "betas": [0.9, 0.999],
        "weight_decay": 0.05,
        "layer_decay": None,
        "warmup_epochs": 15,
        "warmup_ratio": 1e-3,
        "min_lr_ratio": 1e-2,
        "label_smoothing": 0.1,
        "mixup_alpha": 0.8,
        "cutmix_alpha": 1.0,
    }
    trainer, data = config["trainer"], config["data"]["init_args"]
    assert trainer["devices"] * trainer["num_nodes"] * data["batch_size"] == 2048
    assert (trainer["max_epochs"], trainer["gradient_clip_val"], trainer["precision"]) == (300, 1.0, "16-mixed")
    assert not trainer["sync_batchnorm"]
    assert data["preprocessing"]["input_size"] == [3, 224, 224]
    assert data["preprocessing"]["crop_pct"] == 0.875
    assert data["augmentation"]["rand_augment"] == "rand-m9-n2-mstd0.5-inc1"


def test_the_command_line_wins_over_the_recipe(capsys):
    config = resolve(FOLDER / "digits" / "classify.yaml", capsys, "--model.lr", "0.25", "--trainer.max_epochs", "3")
    assert config["model"]["init_args"]["lr"] == 0.25
    assert config["trainer"]["max_epochs"] == 3
