"""Every recipe in the repository is read against the signatures of the classes it names."""

import re
from pathlib import Path

import pytest

from gpvit.data.transforms.detection import SCHEDULE_1X, SCHEDULE_3X, DetectionAugmentation
from gpvit.train.composition import compose
from gpvit.train.recipes import resolve_recipe
from gpvit.zoo.catalog import find

FOLDER = Path(__file__).parents[1] / "recipes"
FILES = sorted(FOLDER.rglob("*.yaml"))
RECIPES = [
    path for path in FILES if {"model", "data"} <= compose([path]).settings.keys() and path.parent.name != "paper"
]
RECIPES = [path for path in RECIPES if "name" in compose([path]).settings["model"]["init_args"]]
PUBLISHED = [path for path in RECIPES if path.parent.name in ("imagenet", "coco", "ade20k")]
OVERLAYS = sorted((FOLDER / "paper").glob("*.yaml"))
TASKS = [f"gpvit.tasks.{kind}Task" for kind in ("Classification", "Segmentation", "Detection")]


def resolve(recipe: Path, *overrides: str) -> dict:
    return resolve_recipe([str(recipe), *overrides])


def test_all_published_results_have_a_recipe():
    names = {(path.parent.name, path.stem) for path in PUBLISHED}
    levels = range(1, 5)
    assert names == {
        *(("imagenet", f"gpvit_l{level}") for level in levels),
        *(
            ("coco", f"{detector}_gpvit_l{level}_{schedule}")
            for detector in ("mask_rcnn", "retinanet")
            for schedule in ("1x", "3x")
            for level in levels
        ),
        *(("ade20k", f"{decoder}_gpvit_l{level}") for decoder in ("upernet", "segformer") for level in levels),
    }
    assert len(PUBLISHED) == 4 + 16 + 8


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_recipe_fits_the_signatures_and_says_what_to_expect(recipe):
    config = resolve(recipe)
    assert config["model"]["class_path"] in TASKS
    head = re.split(r"^\w+:", recipe.read_text(), maxsplit=1, flags=re.MULTILINE)[0]
    assert all(word in head for word in ("Hardware:", "Expected"))


def test_every_other_file_is_a_part_of_recipes_and_says_so():
    for path in set(FILES) - set(RECIPES):
        assert path.read_text().startswith(("# Part of the ", "# Laid over ")), path


@pytest.mark.parametrize("recipe", PUBLISHED, ids=lambda path: str(path.relative_to(FOLDER)))
def test_a_published_recipe_is_short_and_starts_on_the_published_hardware_at_the_published_rate(recipe):
    assert len([line for line in recipe.read_text().splitlines() if not line.startswith("#")]) <= 8
    config = resolve(recipe)
    trainer, data, model = config["trainer"], config["data"]["init_args"], config["model"]["init_args"]
    assert (trainer["accelerator"], trainer["num_nodes"], trainer["devices"]) == ("gpu", 2, 8)
    assert trainer["accumulate_grad_batches"] == 1
    assert model["base_batch_size"] == 16 * data["batch_size"]


def changed(recipe: str, overlay: str) -> dict[str, tuple]:
    """Tell what a file laid over a recipe changes: `{key: (before, after)}`."""
    before, after = resolve_recipe([recipe]), resolve_recipe([recipe, f"recipes/paper/{overlay}.yaml"])
    flat = [dict(flatten(config)) for config in (before, after)]
    return {key: (flat[0].get(key), value) for key, value in flat[1].items() if flat[0].get(key) != value}


def flatten(config: dict, prefix: str = ""):
    for key, value in config.items():
        yield from flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]


def test_where_the_paper_differs_a_named_file_says_so_and_changes_nothing_else():
    l1, upernet, detector = (
        f"recipes/{name}.yaml" for name in ("imagenet/gpvit_l1", "ade20k/upernet_gpvit_l4", COCO_1X)
    )
    arguments = "model.init_args."
    assert changed(l1, "imagenet_clip") == {"trainer.gradient_clip_val": (1.0, 5.0)}
    assert changed(l1, "imagenet_pool") == {f"{arguments}model_kwargs.global_pool": (None, "avg")}
    assert changed(upernet, "ade20k_lr") == {f"{arguments}lr": (1.2e-4, 6e-5)}
    for recipe in (upernet, detector):
        assert changed(recipe, "eight_gpus") == {"trainer.num_nodes": (2, 1), f"{arguments}base_batch_size": (32, 16)}
    assert len(OVERLAYS) == 4
    for overlay in OVERLAYS:  # the command that its first lines show
        shown = re.search(r"gpvit train (\S+) (\S+)", overlay.read_text())
        assert Path(shown[2]).stem == overlay.stem
        resolve_recipe(list(shown.groups()))


COCO_1X = "coco/mask_rcnn_gpvit_l1_1x"


def check_arguments(config: dict, published: dict) -> None:
    """Compare a task's arguments with what was published; what is ours beyond that is off."""
    ours = dict(config["model"]["init_args"])
    assert {name: ours.pop(name) for name in published} == published
    assert not any(ours.values()), ours


@pytest.mark.parametrize(("level", "drop_path"), [(1, 0.2), (2, 0.2), (3, 0.3), (4, 0.3)])
def test_imagenet_recipes_are_the_released_configuration(level, drop_path):
    config = resolve(FOLDER / "imagenet" / f"gpvit_l{level}.yaml")
    check_arguments(
        config,
        {
            "name": f"gpvit_l{level}",
            "model_kwargs": {"drop_path_rate": drop_path},
            "lr": 5e-4 * 2048 / 512,
            "base_batch_size": 2048,
            "betas": [0.9, 0.999],
            "weight_decay": 0.05,
            "warmup_epochs": 15,
            "warmup_ratio": 1e-3,
            "min_lr_ratio": 1e-2,
            "label_smoothing": 0.1,
            "mixup_alpha": 0.8,
            "cutmix_alpha": 1.0,
        },
    )
    trainer, data = config["trainer"], config["data"]["init_args"]
    assert trainer["devices"] * trainer["num_nodes"] * data["batch_size"] == 2048
    assert (trainer["max_epochs"], trainer["gradient_clip_val"], trainer["precision"]) == (300, 1.0, "16-mixed")
    assert not trainer["sync_batchnorm"]
    assert data["preprocessing"]["input_size"] == [3, 224, 224]
    assert data["preprocessing"]["crop_pct"] == 0.875
    assert data["preprocessing"]["interpolation"] == "bicubic"
    assert data["augmentation"] == {
        "crop_scale": [0.08, 1.0],
        "crop_ratio": [3 / 4, 4 / 3],
        "horizontal_flip": 0.5,
        "color_jitter": 0.0,
        "rand_augment": "rand-m9-n2-mstd0.5-inc1",
        "erase_probability": 0.25,
    }
    metrics = find(f"gpvit_l{level}").weights["in1k"].metrics
    figures = f"{metrics['top1']} % top-1, {metrics['top5']} % top-5"
    assert figures in (FOLDER / "imagenet" / f"gpvit_l{level}.yaml").read_text()


HEADS = {
    "upernet": {"no_decay": "layer_norms", "head_lr_scale": 1.0},
    "segformer": {"no_decay": "backbone_norms_and_biases", "head_lr_scale": 10.0},
}


@pytest.mark.parametrize(("level", "drop_path"), [(1, 0.1), (2, 0.1), (3, 0.2), (4, 0.2)])
@pytest.mark.parametrize("decoder", ["upernet", "segformer"])
def test_ade20k_recipes_are_the_released_configuration(decoder, level, drop_path):
    recipe = FOLDER / "ade20k" / f"{decoder}_gpvit_l{level}.yaml"
    config = resolve(recipe)
    assert config["model"]["class_path"] == "gpvit.tasks.SegmentationTask"
    check_arguments(
        config,
        {
            "name": f"{decoder}_gpvit_l{level}",
            "model_kwargs": {"drop_path_rate": drop_path},
            "backbone_weights": "in1k",
            "lr": 6e-5 * 2,
            "base_batch_size": 32,
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
        },
    )
    assert config["data"]["class_path"] == "gpvit.data.segmentation.ADE20K"
    trainer, data = config["trainer"], config["data"]["init_args"]
    assert trainer["devices"] * trainer["num_nodes"] * data["batch_size"] == 32
    assert (trainer["max_steps"], trainer["max_epochs"]) == (160_000, None)
    assert (trainer["val_check_interval"], trainer["check_val_every_n_epoch"]) == (16_000, None)
    assert trainer["sync_batchnorm"]
    assert (trainer["precision"], trainer["gradient_clip_val"]) == ("32-true", None)  # not clipped
    assert data["preprocessing"]["input_size"] == [3, 512, 512]
    assert (data["preprocessing"]["max_size"], data["preprocessing"]["size_divisor"]) == ([2048, 512], 32)
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
def test_coco_recipes_are_the_released_configuration(detector, schedule, level):
    recipe = FOLDER / "coco" / f"{detector}_gpvit_l{level}_{schedule}.yaml"
    config = resolve(recipe)
    epochs, milestones, augmentation = SCHEDULES[schedule]
    assert config["model"]["class_path"] == "gpvit.tasks.DetectionTask"
    check_arguments(
        config,
        {
            "name": f"{detector}_gpvit_l{level}",
            "model_kwargs": {"drop_path_rate": DROP_PATH[detector, schedule][level - 1]},
            "backbone_weights": "in1k",
            "lr": 2e-4,
            "base_batch_size": 32,
            "betas": [0.9, 0.999],
            "weight_decay": 0.05,
            "milestones": milestones,
            "warmup_steps": 500,
            "warmup_ratio": 1e-3,
            "optimizer": "adamw",
        },
    )
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
    config = resolve(FOLDER / "digits" / "classify.yaml", "--model.lr", "0.25", "--trainer.max_epochs", "3")
    assert config["model"]["init_args"]["lr"] == 0.25
    assert config["trainer"]["max_epochs"] == 3


@pytest.mark.parametrize(
    "given", [["--data.augmentation.rand_augment", "null"], ["--data.augmentation.rand_augment=null"]]
)
def test_an_option_within_an_option_can_be_null(given):
    augmentation = resolve(FOLDER / "imagenet" / "gpvit_l1.yaml", *given)["data"]["init_args"]["augmentation"]
    assert augmentation["rand_augment"] is None
    assert augmentation["erase_probability"] == 0.25


def test_an_option_within_a_mapping_leaves_its_neighbours():
    given = ["--model.model_kwargs.backbone_kwargs.stride", "16", "--model.model_kwargs.decoder_kwargs.channels=32"]
    kwargs = resolve(FOLDER / "digit_scenes" / "segment.yaml", *given)["model"]["init_args"]["model_kwargs"]
    assert kwargs["backbone_kwargs"] == {"img_size": 96, "stride": 16}
    assert kwargs["decoder_kwargs"] == {"drop_rate": 0.0, "channels": 32}
