"""Every recipe in the repository is read against the signatures of the classes it names."""

from pathlib import Path

import pytest
import yaml

from gpvit.data.detection.augmentation import SCHEDULE_1X, SCHEDULE_3X, DetectionAugmentation
from gpvit.models.catalog import find
from gpvit.tasks import train_recipe

FOLDER = Path(__file__).parents[1] / "recipes"
RECIPES = sorted(FOLDER.rglob("*.yaml"))
TASKS = [f"gpvit.tasks.{kind}Task" for kind in ("Classification", "Segmentation", "Detection")]


def resolve(recipe: Path, capsys: pytest.CaptureFixture, *overrides: str) -> dict:
    with pytest.raises(SystemExit) as end:
        train_recipe([str(recipe), *overrides, "--print_config"])
    assert end.value.code == 0
    return yaml.safe_load(capsys.readouterr().out)


def test_there_are_recipes():
    assert len(RECIPES) >= 33


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_recipe_fits_the_signatures_and_says_what_to_expect(recipe, capsys):
    config = resolve(recipe, capsys)
    assert config["model"]["class_path"] in TASKS
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


HEADS = {
    "upernet": {"spared": "layer_norms", "head_lr_scale": 1.0},
    "segformer": {"spared": "backbone_norms_and_biases", "head_lr_scale": 10.0},
}


@pytest.mark.parametrize(("level", "drop_path"), [(1, 0.1), (2, 0.1), (3, 0.2), (4, 0.2)])
@pytest.mark.parametrize("decoder", ["upernet", "segformer"])
def test_ade20k_recipes_are_the_released_configuration(decoder, level, drop_path, capsys):
    recipe = FOLDER / "ade20k" / f"{decoder}_gpvit_l{level}.yaml"
    config = resolve(recipe, capsys)
    assert config["model"]["class_path"] == "gpvit.tasks.SegmentationTask"
    assert config["model"]["init_args"] == {
        "name": f"{decoder}_gpvit_l{level}",
        "model_kwargs": {"drop_path_rate": drop_path},
        "weights": None,
        "backbone_weights": "in1k",
        "lr": 6e-5 * 2,
        "betas": [0.9, 0.999],
        "weight_decay": 0.01,
        **HEADS[decoder],
        "warmup_steps": 1500,
        "warmup_ratio": 1e-6,
        "power": 1.0,
        "min_lr_ratio": 0.0,
        "auxiliary_weight": 0.4,
        "background_weight": 1.0,
        "optimizer": "adamw",
    }
    assert config["data"]["class_path"] == "gpvit.data.segmentation.ADE20K"
    trainer, data = config["trainer"], config["data"]["init_args"]
    assert trainer["devices"] * trainer["num_nodes"] * data["batch_size"] == 32
    assert (trainer["max_steps"], trainer["max_epochs"]) == (160_000, None)
    assert (trainer["val_check_interval"], trainer["check_val_every_n_epoch"]) == (16_000, None)
    assert trainer["sync_batchnorm"]
    assert (trainer["precision"], trainer["gradient_clip_val"]) == (None, None)  # float32, unclipped
    assert data["preprocessing"]["input_size"] == [3, 512, 512]
    assert (data["preprocessing"]["fit_size"], data["preprocessing"]["divisor"]) == ([2048, 512], 32)
    assert data["augmentation"] == {
        "scale": [0.5, 2.0],
        "max_class_share": 0.75,
        "horizontal_flip": 0.5,
        "photometric": True,
    }
    published = find(f"{decoder}_gpvit_l{level}").weights["ade20k"].metrics["miou"]
    assert f"{published} % mIoU" in recipe.read_text()


# Box and mask AP of L1 to L4: the paper's tables 3 and 4.
PUBLISHED_AP = {
    ("mask_rcnn", "1x"): [(48.1, 42.7), (49.9, 43.9), (50.4, 44.4), (51.0, 45.0)],
    ("mask_rcnn", "3x"): [(50.2, 44.3), (51.4, 45.1), (51.6, 45.2), (52.1, 45.7)],
    ("retinanet", "1x"): [(45.8,), (48.0,), (48.3,), (48.7,)],
    ("retinanet", "3x"): [(48.1,), (49.0,), (49.4,), (49.8,)],
}
DROP_PATH = {
    ("mask_rcnn", "1x"): [0.1, 0.1, 0.1, 0.2],
    ("mask_rcnn", "3x"): [0.1, 0.1, 0.2, 0.2],
    ("retinanet", "1x"): [0.1, 0.1, 0.1, 0.1],
    ("retinanet", "3x"): [0.1, 0.1, 0.2, 0.2],
}
SCHEDULES = {"1x": (12, [8, 11], SCHEDULE_1X), "3x": (36, [27, 33], SCHEDULE_3X)}


@pytest.mark.parametrize("level", [1, 2, 3, 4])
@pytest.mark.parametrize("schedule", ["1x", "3x"])
@pytest.mark.parametrize("detector", ["mask_rcnn", "retinanet"])
def test_coco_recipes_are_the_released_configuration(detector, schedule, level, capsys):
    recipe = FOLDER / "coco" / f"{detector}_gpvit_l{level}_{schedule}.yaml"
    config = resolve(recipe, capsys)
    epochs, milestones, augmentation = SCHEDULES[schedule]
    assert config["model"]["class_path"] == "gpvit.tasks.DetectionTask"
    assert config["model"]["init_args"] == {
        "name": f"{detector}_gpvit_l{level}",
        "model_kwargs": {"drop_path_rate": DROP_PATH[detector, schedule][level - 1]},
        "weights": None,
        "backbone_weights": "in1k",
        "lr": 2e-4,
        "betas": [0.9, 0.999],
        "weight_decay": 0.05,
        "milestones": milestones,
        "warmup_steps": 500,
        "warmup_ratio": 1e-3,
        "optimizer": "adamw",
    }
    assert config["data"]["class_path"] == "gpvit.data.detection.COCO"
    trainer, data = config["trainer"], config["data"]["init_args"]
    assert trainer["devices"] * trainer["num_nodes"] * data["batch_size"] == 32
    assert (trainer["max_epochs"], trainer["precision"], trainer["sync_batchnorm"]) == (epochs, "16-mixed", True)
    assert trainer["gradient_clip_val"] == (35.0 if detector == "retinanet" else None)
    assert DetectionAugmentation(**data["augmentation"]) == augmentation
    assert data["masks"] == (detector == "mask_rcnn")
    published = zip(PUBLISHED_AP[detector, schedule][level - 1], ("box", "mask"), strict=False)
    figures = " and ".join(f"{ap} % {kind} AP" for ap, kind in published)
    assert f"after {epochs} epochs: {figures} (published; not reproduced here)" in recipe.read_text()


def test_the_command_line_wins_over_the_recipe(capsys):
    config = resolve(FOLDER / "digits" / "classify.yaml", capsys, "--model.lr", "0.25", "--trainer.max_epochs", "3")
    assert config["model"]["init_args"]["lr"] == 0.25
    assert config["trainer"]["max_epochs"] == 3
