"""What the published recipes do to weights: rates at given steps, groups of parameters, drop paths, mixing."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

import gpvit
from gpvit.cli import main
from gpvit.train.recipes import read_recipe

FOLDER = Path(__file__).parents[1] / "recipes"
RECIPES = [
    str(path.relative_to(FOLDER)) for kind in ("imagenet", "coco", "ade20k") for path in FOLDER.glob(f"{kind}/*l[1-4]*")
]
IMAGES = {"imagenet": 1_281_167, "coco": 117_266, "ade20k": 20_210}


class Fixed:
    """Has the attributes it is given."""

    def __init__(self, **values) -> None:
        self.__dict__.update(values)


def network(config: dict) -> nn.Module:
    task = {"optim": None, "weights": None, "backbone_weights": None, "label_smoothing": 0, "mixup_alpha": 0}
    others = (*task, "cutmix_alpha", "auxiliary_weight", "background_weight")
    with torch.device("meta"):
        return gpvit.create_model(**{name: value for name, value in config["model"].items() if name not in others})


def plan(recipe: str, *overrides: str, devices: int = 16):
    """Create a recipe's optimiser as on so many devices, of which there are none here.

    Returns:
        The optimiser steps of an epoch, the rate's factor as a function of the step, and what each parameter gets.
    """
    found = read_recipe([str(FOLDER / recipe), *overrides])
    task, config = found.create_task(), found.config
    task.network = network(found.settings)
    batch_size, accumulated = found.config.batch_layout(found.settings["data"]["batch_size"], devices)
    batches = IMAGES[Path(recipe).parent.name] // (batch_size * devices)  # the last one that is not full is left out
    epoch_steps = batches // accumulated
    optimizer, scheduler = task.create_optimizer(
        total_steps=config.steps or config.epochs * epoch_steps,
        epoch_steps=epoch_steps,
        images_per_step=batch_size * accumulated * devices,
    )
    names = {id(parameter): name for name, parameter in task.network.named_parameters()}
    groups = {
        names[id(parameter)]: (group["initial_lr"], group["weight_decay"], group["betas"], group["eps"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert groups.keys() == set(names.values())
    assert type(optimizer) is torch.optim.AdamW
    return epoch_steps, scheduler.lr_lambdas[0], groups


def warm_up(step: int, steps: int, ratio: float) -> float:
    return 1 - (1 - step / steps) * (1 - ratio) if step < steps else 1


def check_rates(recipe: str, steps: list[int], expected) -> None:
    _, factor, groups = plan(recipe)
    (peak,) = {lr for name, (lr, *_) in groups.items() if name.startswith(("backbone.", "stem."))}
    assert [peak * factor(step) for step in steps] == [pytest.approx(expected(step), rel=1e-9) for step in steps]


def test_imagenet_warms_up_for_15_epochs_on_a_cosine_that_ends_at_one_percent():
    epoch = 1_281_167 // 2048
    last = 300 * epoch

    def expected(step: int) -> float:
        cosine = 2e-5 + (2e-3 - 2e-5) * (1 + math.cos(math.pi * step / last)) / 2
        return cosine * warm_up(step, 15 * epoch, 1e-3)

    steps = [0, 1, epoch, 15 * epoch - 1, 15 * epoch, 100 * epoch, last // 2, last - 1, last]
    check_rates("imagenet/gpvit_l1.yaml", steps, expected)
    assert (expected(0), expected(last)) == (pytest.approx(2e-6), pytest.approx(2e-5))


@pytest.mark.parametrize(("schedule", "falls"), [("1x", (8, 11, 12)), ("3x", (27, 33, 36))])
@pytest.mark.parametrize("detector", ["mask_rcnn", "retinanet"])
def test_coco_warms_up_for_500_steps_and_falls_twice(detector, schedule, falls):
    epoch = 117_266 // 32
    first, second, last = (epoch * fall for fall in falls)

    def expected(step: int) -> float:
        return 2e-4 * warm_up(step, 500, 1e-3) * 0.1 ** ((step >= first) + (step >= second))

    steps = [0, 1, 250, 499, 500, first - 1, first, second - 1, second, last - 1]
    check_rates(f"coco/{detector}_gpvit_l1_{schedule}.yaml", steps, expected)


@pytest.mark.parametrize("decoder", ["upernet", "segformer"])
def test_ade20k_warms_up_for_1500_steps_and_falls_to_zero_in_a_straight_line(decoder):
    def expected(step: int) -> float:
        return 1.2e-4 * (1 - step / 160_000) * warm_up(step, 1500, 1e-6)

    check_rates(f"ade20k/{decoder}_gpvit_l1.yaml", [0, 1, 750, 1499, 1500, 80_000, 159_999, 160_000], expected)
    assert expected(0) == pytest.approx(1.2e-10)


EMBEDDINGS = r"pos_embed|group_tokens|pool\.token"
BATCH_NORMS = r"dwconv\.norm|stem\.first\.norm|spatial_prior\..*norm"


def classifier_decays(name: str) -> bool:
    """All but norms, biases and embeddings; the biases of depthwise convolutions (LePE) decay by the authors' rule."""
    return name.endswith("lepe.bias") or not re.search(rf"\.bias$|norm|{EMBEDDINGS}", name)


def detector_decays(name: str) -> bool:
    """All but what the authors' names call so: norm, bias, embeddings; their batch norms are called otherwise."""
    return not re.search(rf"bias|level_embed|{EMBEDDINGS}", name) and (
        "norm" not in name or re.search(BATCH_NORMS, name) is not None
    )


def upernet_decays(name: str) -> bool:
    """All but the layer norms, of which the last is not called one, and embeddings; all other biases decay."""
    if re.search(rf"{BATCH_NORMS}|^decoder|^auxiliary|^backbone\.model\.norm\.", name):
        return True
    return not re.search(rf"norm|{EMBEDDINGS}", name)


def segformer_decays(name: str) -> bool:
    """As in classification, but the head decays as a whole."""
    return not name.startswith("backbone.") or classifier_decays(name)


@pytest.mark.parametrize(
    ("recipe", "lr", "decay", "decays", "head_scale"),
    [
        ("imagenet/gpvit_l1.yaml", 2e-3, 0.05, classifier_decays, 1),
        ("coco/mask_rcnn_gpvit_l1_1x.yaml", 2e-4, 0.05, detector_decays, 1),
        ("coco/retinanet_gpvit_l1_3x.yaml", 2e-4, 0.05, detector_decays, 1),
        ("ade20k/upernet_gpvit_l1.yaml", 1.2e-4, 0.01, upernet_decays, 1),
        ("ade20k/segformer_gpvit_l1.yaml", 1.2e-4, 0.01, segformer_decays, 10),
    ],
)
def test_rate_and_decay_of_every_parameter_of_l1(recipe, lr, decay, decays, head_scale):
    _, _, groups = plan(recipe)
    expected = {
        name: (lr * (1 if name.startswith("backbone.") else head_scale), decay * decays(name), (0.9, 0.999), 1e-8)
        for name in groups
    }
    assert {name: tuple(group) for name, group in groups.items()} == {
        name: (pytest.approx(rate), wd, betas, eps) for name, (rate, wd, betas, eps) in expected.items()
    }
    assert {decays(name) for name in groups} == {True, False}


@pytest.mark.parametrize("recipe", ["imagenet/gpvit_l1", "coco/retinanet_gpvit_l1_1x", "ade20k/segformer_gpvit_l1"])
def test_the_global_batch_decides_the_rate(recipe, capsys):
    published, _, reference = plan(f"{recipe}.yaml")
    assert capsys.readouterr().out == ""  # as published: nothing to say
    on_one_device, _, same = plan(f"{recipe}.yaml", devices=1)  # by accumulation
    assert capsys.readouterr().out == ""
    assert same == reference
    assert on_one_device == published
    images = read_recipe([str(FOLDER / f"{recipe}.yaml")]).settings["train"]["global_batch_size"]
    half, _, halved = plan(f"{recipe}.yaml", "--train.global_batch_size", str(images // 2), devices=8)
    assert "learning rate" in capsys.readouterr().out
    assert {name: group[0] / 2 for name, group in reference.items()} == {
        name: pytest.approx(group[0]) for name, group in halved.items()
    }
    assert half // 2 == published


def test_a_published_recipe_under_an_overlay_trains_on_a_cpu(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for split in ("train", "val"):
        for label in range(4):
            path = tmp_path / "images" / split / str(label) / "0.png"
            path.parent.mkdir(parents=True)
            Image.new("L", (70, 60), 60 * label).save(path)
    small = ["--model.name", "gpvit_nano", "--data.preprocessing.input_size", "[3,32,32]", "--data.num_workers", "0"]
    short = ["--train.global_batch_size", "4", "--train.epochs", "1", "--train.precision", "32-true"]
    recipes = ["recipes/imagenet/gpvit_l1.yaml", "recipes/paper/imagenet_clip.yaml"]
    with pytest.warns(UserWarning, match="the warm-up of 15 steps is not shorter"):
        assert main(["train", *recipes, "--data.root", "images", "--train.accelerator", "cpu", *small, *short]) == 0
    assert "learning rate 3.91e-06 for 4 images a step, from 0.002 for 2048" in capsys.readouterr().out
    (folder,) = (tmp_path / "runs" / "imagenet-gpvit_l1+imagenet_clip").iterdir()
    used = yaml.safe_load((folder / "config.yaml").read_text())
    assert (used["train"]["clip"], used["train"]["epochs"]) == (5.0, 1)
    assert read_recipe([str(folder / "config.yaml")]).settings == used  # what was run is a recipe itself


def drop_paths(module: nn.Module) -> list[float]:
    return [each.drop_prob for each in module.modules() if hasattr(each, "drop_prob")]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.slow
def test_drop_path_of_every_block(recipe):
    config = read_recipe([str(FOLDER / recipe)]).settings
    rate = config["model"]["drop_path_rate"]
    model = network(config)
    (blocks,) = (module for name, module in model.named_modules() if name.split(".")[-1] == "blocks")
    assert len(blocks) == 12
    for block, expected in zip(blocks, np.linspace(0, rate, 12), strict=True):
        rates = drop_paths(block)
        assert len(rates) >= 2
        assert rates == [pytest.approx(expected)] * len(rates)
    others = len(drop_paths(model)) - sum(len(drop_paths(block)) for block in blocks)
    if recipe.startswith("coco"):  # the extractors', which does not rise
        assert drop_paths(model.backbone.body.extractors) == [rate] * others
        assert others == 4 + 2
    else:
        assert others == 0


def test_imagenet_always_mixes_by_one_of_both_and_spreads_labels():
    task = read_recipe([str(FOLDER / "imagenet/gpvit_l1.yaml")]).create_task()
    with torch.device("meta"):
        task.build(Fixed(preprocessing=Fixed(input_size=(3, 32, 32)), num_classes=1000))
    mixup = task.mixup
    assert (mixup.mixup_alpha, mixup.cutmix_alpha, mixup.mix_prob, mixup.switch_prob) == (0.8, 1.0, 1.0, 0.5)
    assert (mixup.label_smoothing, mixup.num_classes, mixup.mode) == (0.1, 1000, "batch")
    np.random.seed(0)
    pixels = torch.eye(8)[:, :, None, None].expand(8, 8, 16, 16)  # each has a channel of its own
    cut = 0
    for _ in range(200):
        images, targets = mixup(pixels.clone(), torch.arange(8))
        assert targets.sum(1).allclose(torch.ones(8))
        assert targets.min().item() == pytest.approx(0.1 / 1000)  # "original": of all classes, the own one too
        own = images[0, 0]
        cut += bool(((own == 0) | (own == 1)).all())
        share = (targets[0, 0].item() - 0.0001) / 0.9
        assert own.mean().item() == pytest.approx(share, abs=1e-5)  # labels are mixed as the pixels are
    assert 75 < cut < 130
