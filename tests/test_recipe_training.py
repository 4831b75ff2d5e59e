"""What the published recipes do to weights: rates at given steps, groups of parameters, drop paths, mixing."""

import math
import pydoc
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
from gpvit.data.samplers import ResumableBatchSampler, Shuffled
from gpvit.train.recipes import resolve_recipe

FOLDER = Path(__file__).parents[1] / "recipes"
RECIPES = [
    str(path.relative_to(FOLDER)) for kind in ("imagenet", "coco", "ade20k") for path in FOLDER.glob(f"{kind}/*l[1-4]*")
]
IMAGES = {"imagenet": 1_281_167, "coco": 117_266, "ade20k": 20_210}


class Fixed:
    """Has the attributes it is given."""

    def __init__(self, **values) -> None:
        self.__dict__.update(values)


class Planned(Fixed):
    """Stands for a Trainer on the recipe's machines, of which there are none here: it only knows how much is to do."""

    fit_loop = Fixed(setup_data=lambda: None)

    def __init__(self, config: dict, images: int) -> None:
        trainer, batch_size = config["trainer"], config["data"]["init_args"]["batch_size"]
        self.world_size = trainer["num_nodes"] * trainer["devices"]
        self.accumulate_grad_batches = trainer["accumulate_grad_batches"]
        self.datamodule = Fixed(batch_size=batch_size)
        self.num_training_batches = len(ResumableBatchSampler(Shuffled(images), batch_size, 0, 0, self.world_size))
        epochs = trainer["max_epochs"]
        steps = self.num_training_batches // self.accumulate_grad_batches
        self.estimated_stepping_batches = steps * epochs if epochs else trainer["max_steps"]


def network(config: dict) -> nn.Module:
    model = config["model"]["init_args"]
    with torch.device("meta"):
        return gpvit.create_model(model["name"], **model["model_kwargs"])


def plan(recipe: str, *overrides: str):
    """Create a recipe's optimiser, and its rate as a function of the step and, by name, of the parameter."""
    config = resolve_recipe([str(FOLDER / recipe), *overrides])
    task = pydoc.locate(config["model"]["class_path"])(**config["model"]["init_args"])
    task.network = network(config)
    trainer = Planned(config, IMAGES[Path(recipe).parent.name])
    task.trainer = trainer
    created = task.configure_optimizers()
    factor = created["lr_scheduler"]["scheduler"].lr_lambdas[0]
    assert created["lr_scheduler"]["interval"] == "step"
    names = {id(parameter): name for name, parameter in task.network.named_parameters()}
    groups = {
        names[id(parameter)]: (group["initial_lr"], group["weight_decay"], group["betas"], group["eps"])
        for group in created["optimizer"].param_groups
        for parameter in group["params"]
    }
    assert groups.keys() == set(names.values())
    assert type(created["optimizer"]) is torch.optim.AdamW
    return trainer, factor, groups


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
    one_node, _, halved = plan(f"{recipe}.yaml", "--trainer.num_nodes", "1")
    assert "learning rate" in capsys.readouterr().out
    accumulated, _, same = plan(f"{recipe}.yaml", "--trainer.num_nodes", "1", "--trainer.accumulate_grad_batches", "2")
    assert {name: group[0] / 2 for name, group in reference.items()} == {
        name: pytest.approx(group[0]) for name, group in halved.items()
    }
    assert same == reference
    steps = [each.num_training_batches // each.accumulate_grad_batches for each in (published, accumulated)]
    assert steps[0] == steps[1] == one_node.num_training_batches // 2


def test_a_published_recipe_under_an_overlay_trains_on_a_cpu(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for split in ("train", "val"):
        for label in range(4):
            path = tmp_path / "pictures" / split / str(label) / "0.png"
            path.parent.mkdir(parents=True)
            Image.new("L", (70, 60), 60 * label).save(path)
    here = ["--trainer.num_nodes", "1", "--trainer.devices", "1", "--trainer.accelerator", "cpu"]
    small = ["--model.name", "gpvit_nano", "--data.preprocessing.input_size", "[3,32,32]", "--data.num_workers", "0"]
    short = ["--data.batch_size", "4", "--trainer.max_epochs", "1", "--trainer.precision", "32-true"]
    recipes = ["recipes/imagenet/gpvit_l1.yaml", "recipes/paper/imagenet_clip.yaml"]
    assert main(["train", *recipes, "--data.root", "pictures", *here, *small, *short]) == 0
    assert "learning rate 3.91e-06 for 4 images a step, from 0.002 for 2048" in capsys.readouterr().out
    (folder,) = (tmp_path / "runs" / "imagenet-gpvit_l1+imagenet_clip").iterdir()
    used = yaml.safe_load((folder / "config.yaml").read_text())
    assert (used["trainer"]["gradient_clip_val"], used["trainer"]["max_epochs"]) == (5.0, 1)
    assert resolve_recipe([str(folder / "config.yaml")])["model"] == used["model"]  # what was run is a recipe itself


def drop_paths(module: nn.Module) -> list[float]:
    return [each.drop_prob for each in module.modules() if hasattr(each, "drop_prob")]


@pytest.mark.parametrize("recipe", RECIPES)
def test_drop_path_of_every_block(recipe):
    config = resolve_recipe([str(FOLDER / recipe)])
    rate = config["model"]["init_args"]["model_kwargs"]["drop_path_rate"]
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
    config = resolve_recipe([str(FOLDER / "imagenet/gpvit_l1.yaml")])
    task = pydoc.locate(config["model"]["class_path"])(**config["model"]["init_args"])
    data = Fixed(preprocessing=Fixed(input_size=(3, 32, 32)), num_classes=1000)
    trainer = Fixed(datamodule=data)
    task.trainer = trainer
    with torch.device("meta"):
        task.configure_model()
    mixup = task.mixup
    assert (mixup.mixup_alpha, mixup.cutmix_alpha, mixup.mix_prob, mixup.switch_prob) == (0.8, 1.0, 1.0, 0.5)
    assert (mixup.label_smoothing, mixup.num_classes, mixup.mode) == (0.1, 1000, "batch")
    np.random.seed(0)
    pictures = torch.eye(8)[:, :, None, None].expand(8, 8, 16, 16)  # each has a channel of its own
    cut = 0
    for _ in range(200):
        images, targets = mixup(pictures.clone(), torch.arange(8))
        assert targets.sum(1).allclose(torch.ones(8))
        assert targets.min().item() == pytest.approx(0.1 / 1000)  # "original": of all classes, the own one too
        own = images[0, 0]
        cut += bool(((own == 0) | (own == 1)).all())
        share = (targets[0, 0].item() - 0.0001) / 0.9
        assert own.mean().item() == pytest.approx(share, abs=1e-5)  # labels are mixed as the pixels are
    assert 75 < cut < 130
