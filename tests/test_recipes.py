"""Every recipe in the repository is read against the signatures of the classes it names."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from gpvit import tasks
from gpvit.data.transforms.detection import SCHEDULE_1X, SCHEDULE_3X, DetectionAugmentation
from gpvit.tasks.optim import OptimConfig
from gpvit.train.composition import compose
from gpvit.train.recipes import read_recipe
from gpvit.zoo.catalog import find

FOLDER = Path(__file__).parents[1] / "recipes"
FILES = sorted(FOLDER.rglob("*.yaml"))


def is_whole(path: Path) -> bool:
    settings = compose([path]).settings
    return "name" in settings.get("model", {}) and "class" in settings.get("data", {})


RECIPES = [path for path in FILES if is_whole(path)]
PUBLISHED = [path for path in RECIPES if path.parent.name in ("imagenet", "coco", "ade20k")]
OVERLAYS = sorted((FOLDER / "paper").glob("*.yaml"))
OWN = sorted((FOLDER / "folder").rglob("*.yaml"))


def resolve(recipe: Path, *overrides: str) -> dict:
    return read_recipe([str(recipe), *overrides]).settings


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
    assert set(config) == {"model", "data", "optim", "train"}
    head = re.split(r"^\w+:", recipe.read_text(), maxsplit=1, flags=re.MULTILINE)[0]
    assert all(word in head for word in ("Hardware:", "Expected"))


def test_every_other_file_is_a_part_of_recipes_and_says_so():
    for path in set(FILES) - set(RECIPES):
        assert path.read_text().startswith(("# Part of the ", "# Laid over ")), path


@pytest.mark.parametrize("recipe", PUBLISHED, ids=lambda path: str(path.relative_to(FOLDER)))
def test_a_published_recipe_is_short_and_names_the_images_of_a_step_but_no_machines(recipe):
    assert len([line for line in recipe.read_text().splitlines() if not line.startswith("#")]) <= 8
    config = resolve(recipe)
    assert (
        config["train"]["global_batch_size"] == config["optim"]["base_batch_size"] == 16 * config["data"]["batch_size"]
    )
    machines = ("accelerator", "devices", "nodes", "accumulate")
    assert not any(key in compose([recipe]).settings["train"] for key in machines)


def changed(recipe: str, overlay: str) -> dict[str, tuple]:
    """Tell what a file laid over a recipe changes: `{key: (before, after)}`."""
    before, after = (read_recipe(files).settings for files in ([recipe], [recipe, f"recipes/paper/{overlay}.yaml"]))
    flat = [dict(flatten(config)) for config in (before, after)]
    return {key: (flat[0].get(key), value) for key, value in flat[1].items() if flat[0].get(key) != value}


def flatten(config: dict, prefix: str = ""):
    for key, value in config.items():
        yield from flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]


def test_where_the_paper_differs_a_named_file_says_so_and_changes_nothing_else():
    l1, upernet, detector = (
        f"recipes/{name}.yaml" for name in ("imagenet/gpvit_l1", "ade20k/upernet_gpvit_l4", COCO_1X)
    )
    assert changed(l1, "imagenet_clip") == {"train.clip": (1.0, 5.0)}
    assert changed(l1, "imagenet_pool") == {"model.global_pool": (None, "avg")}
    assert changed(upernet, "ade20k_lr") == {"optim.lr": (1.2e-4, 6e-5)}
    for recipe in (upernet, detector):
        half = {"train.global_batch_size": (32, 16), "optim.base_batch_size": (32, 16)}
        assert changed(recipe, "eight_gpus") == half
    assert len(OVERLAYS) == 4


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: str(path.relative_to(FOLDER)))
def test_the_command_that_an_overlay_shows_is_whole(overlay):
    shown = re.search(r"gpvit train (\S+) recipes/(\S+)( --data\S+ \S+)?", overlay.read_text())
    assert FOLDER / shown[2] == overlay
    read_recipe(shown[0].split()[2:])


@pytest.mark.parametrize("recipe", OWN, ids=lambda path: str(path.relative_to(FOLDER)))
def test_the_command_that_a_recipe_of_ones_own_images_shows_is_whole(recipe):
    shown = re.search(r"gpvit train recipes/(\S+) --data.root \S+", recipe.read_text())
    assert FOLDER / shown[1] == recipe
    read_recipe(shown[0].split()[2:])


def test_a_small_recipe_stands_alone_and_may_be_laid_over_its_base():
    for name, base in (("classify", "finetune"), ("segment", "segment"), ("detect", "detect")):
        small, root = f"recipes/folder/small/{name}.yaml", ("--data.root", "x")
        assert resolve(small, *root) == read_recipe([f"recipes/folder/{base}.yaml", small, *root]).settings


COCO_1X = "coco/mask_rcnn_gpvit_l1_1x"


def check_arguments(config: dict, model: dict, optim: OptimConfig) -> None:
    """Compare the settings of a task and its optimiser with what was published; what is ours beyond that is off."""
    ours = dict(config["model"])
    assert {name: ours.pop(name) for name in model} == model
    assert not any(ours.values()), ours
    assert config["optim"] == json.loads(json.dumps(asdict(optim)))  # whose own defaults are off


@pytest.mark.parametrize(("level", "drop_path"), [(1, 0.2), (2, 0.2), (3, 0.3), (4, 0.3)])
def test_imagenet_recipes_are_the_released_configuration(level, drop_path):
    config = resolve(FOLDER / "imagenet" / f"gpvit_l{level}.yaml")
    check_arguments(
        config,
        {
            "name": f"gpvit_l{level}",
            "drop_path_rate": drop_path,
            "label_smoothing": 0.1,
            "mixup_alpha": 0.8,
            "cutmix_alpha": 1.0,
        },
        OptimConfig(
            lr=5e-4 * 2048 / 512,
            base_batch_size=2048,
            optimizer="adamw",
            betas=(0.9, 0.999),
            weight_decay=0.05,
            no_decay="norms_and_biases",
            schedule="cosine",
            warmup_epochs=15,
            warmup_ratio=1e-3,
            min_lr_ratio=1e-2,
        ),
    )
    train, data = config["train"], config["data"]
    assert (train["global_batch_size"], data["batch_size"]) == (2048, 128)
    assert (train["epochs"], train["clip"], train["precision"]) == (300, 1.0, "16-mixed")
    assert train["sync_batchnorm"] is None
    assert not tasks.ClassificationTask.sync_batch_norm
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
    check_arguments(
        config,
        {
            "name": f"{decoder}_gpvit_l{level}",
            "drop_path_rate": drop_path,
            "backbone_weights": "in1k",
            "auxiliary_weight": 0.4,
            "background_weight": 1.0,
        },
        OptimConfig(
            lr=6e-5 * 2,
            base_batch_size=32,
            optimizer="adamw",
            betas=(0.9, 0.999),
            weight_decay=0.01,
            **HEADS[decoder],
            schedule="poly",
            warmup_steps=1500,
            warmup_ratio=1e-6,
            power=1.0,
            min_lr_ratio=0.0,
        ),
    )
    train, data = config["train"], config["data"]
    assert data["class"] == "gpvit.data.segmentation.ADE20K"
    assert (train["global_batch_size"], data["batch_size"]) == (32, 2)
    assert (train["steps"], train["epochs"], train["validate_every"]) == (160_000, None, 16_000)
    assert train["sync_batchnorm"] is None
    assert tasks.SegmentationTask.sync_batch_norm
    assert (train["precision"], train["clip"]) == ("32-true", None)  # not clipped
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
SCHEDULES = {"1x": (12, (8, 11), SCHEDULE_1X), "3x": (36, (27, 33), SCHEDULE_3X)}


@pytest.mark.parametrize("level", [1, 2, 3, 4])
@pytest.mark.parametrize("schedule", ["1x", "3x"])
@pytest.mark.parametrize("detector", ["mask_rcnn", "retinanet"])
def test_coco_recipes_are_the_released_configuration(detector, schedule, level):
    recipe = FOLDER / "coco" / f"{detector}_gpvit_l{level}_{schedule}.yaml"
    config = resolve(recipe)
    epochs, milestones, augmentation = SCHEDULES[schedule]
    check_arguments(
        config,
        {
            "name": f"{detector}_gpvit_l{level}",
            "drop_path_rate": DROP_PATH[detector, schedule][level - 1],
            "backbone_weights": "in1k",
        },
        OptimConfig(
            lr=2e-4,
            base_batch_size=32,
            optimizer="adamw",
            betas=(0.9, 0.999),
            weight_decay=0.05,
            no_decay="biases_and_layer_norms",
            schedule="multistep",
            milestones=milestones,
            warmup_steps=500,
            warmup_ratio=1e-3,
        ),
    )
    train, data = config["train"], config["data"]
    assert data["class"] == "gpvit.data.detection.COCO"
    assert (train["global_batch_size"], data["batch_size"]) == (32, 2)
    assert (train["epochs"], train["precision"], train["sync_batchnorm"]) == (epochs, "16-mixed", None)
    assert tasks.DetectionTask.sync_batch_norm
    assert train["clip"] == (35.0 if detector == "retinanet" else None)
    assert DetectionAugmentation(**data["augmentation"]) == augmentation
    assert data["masks"] == (detector == "mask_rcnn")
    published = zip(PUBLISHED_AP[detector, schedule][level - 1], ("box", "mask"), strict=False)
    figures = " and ".join(f"{ap} % {kind} AP" for ap, kind in published)
    assert f"after {epochs} epochs: {figures} (published; not reproduced here)" in recipe.read_text()


def test_the_command_line_wins_over_the_recipe():
    config = resolve(FOLDER / "digits" / "classify.yaml", "--optim.lr", "0.25", "--train.epochs", "3")
    assert config["optim"]["lr"] == 0.25
    assert config["train"]["epochs"] == 3


@pytest.mark.parametrize(
    "given", [["--data.augmentation.rand_augment", "null"], ["--data.augmentation.rand_augment=null"]]
)
def test_an_option_within_an_option_can_be_null(given):
    augmentation = resolve(FOLDER / "imagenet" / "gpvit_l1.yaml", *given)["data"]["augmentation"]
    assert augmentation["rand_augment"] is None
    assert augmentation["erase_probability"] == 0.25


def test_an_option_within_a_mapping_leaves_its_neighbours():
    given = ["--model.backbone_kwargs.stride", "16", "--model.decoder_kwargs.channels=32"]
    model = resolve(FOLDER / "digit_scenes" / "segment.yaml", *given)["model"]
    assert model["backbone_kwargs"] == {"img_size": 96, "stride": 16}
    assert model["decoder_kwargs"] == {"drop_rate": 0.0, "channels": 32}
