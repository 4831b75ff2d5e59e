import re
from itertools import pairwise

import pytest
import timm
import torch
from golden import official

import gpvit  # timm learns the models
from gpvit.tasks.optim import OptimConfig, create_optimizer
from gpvit.tasks.param_groups import NO_DECAY, find_transformer, parameter_groups
from gpvit.zoo.official import convert_official

AUTHORS_NORMS = r"norm|ln1|patch_embed\.stem\.1|patch_embed\.convs\.(1|4)|dwconv\.1"


def authors_decay(name: str) -> bool:
    """The authors' rule, in the names of their code."""
    if name.endswith("get_v.bias"):
        return True
    return not (name.endswith((".bias", "pos_embed", "group_token")) or re.search(AUTHORS_NORMS, name))


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_the_parameters_that_decay_are_the_authors(level):
    # Their state dict with 1 for what decays and 0 for what does not takes the rule to our names.
    marks = {
        name: torch.full(shape, float(authors_decay(name))) for name, shape, _ in official.entries(f"cls_L{level}")
    }
    expected = {name: bool(mark.flatten()[0]) for name, mark in convert_official(marks).items()}
    with torch.device("meta"):
        model = timm.create_model(f"gpvit_l{level}")
    no_decay = NO_DECAY["norms_and_biases"](model)
    assert {name: name not in no_decay for name, _ in model.named_parameters()} == {
        name: expected[name] for name, _ in model.named_parameters()
    }
    assert sum(mark for name, mark in expected.items() if name.endswith(".bias")) == 16


def names_by_group(model: torch.nn.Module, groups: list[dict]) -> dict[str, dict]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(parameter)]: group for group in groups for parameter in group["params"]}


@pytest.mark.parametrize("layer_decay", [None, 0.5])
def test_every_parameter_is_in_one_group_and_decays_by_name(layer_decay):
    model = timm.create_model("gpvit_nano", num_classes=3)
    groups = parameter_groups(model, lr=0.1, weight_decay=0.3, layer_decay=layer_decay)
    by_name = names_by_group(model, groups)
    assert sum(len(group["params"]) for group in groups) == len(by_name) == len(list(model.parameters()))
    no_decay = NO_DECAY["norms_and_biases"](model)
    assert all(group["weight_decay"] == (0.0 if name in no_decay else 0.3) for name, group in by_name.items())


def test_layer_decay_sets_real_learning_rates():
    model = timm.create_model("gpvit_nano", num_classes=3)
    by_name = names_by_group(model, parameter_groups(model, lr=0.1, weight_decay=0.05, layer_decay=0.5))
    assert by_name["head.weight"]["lr"] == pytest.approx(0.1)
    rates = [by_name[f"blocks.{i}.mlp.fc1.weight"]["lr"] for i in range(12)]
    assert all(later == pytest.approx(2 * earlier) for earlier, later in pairwise(rates))
    assert by_name["stem.proj.weight"]["lr"] == by_name["pos_embed"]["lr"] == pytest.approx(rates[0] / 2)
    assert {group["lr"] for group in parameter_groups(model, lr=0.1, weight_decay=0.05)} == {0.1}


def upernet_decays(name: str) -> bool:
    """Of UPerNet's configuration: three parts of names are given a decay of zero, nothing else is."""
    return not any(part in name for part in ("norm", ".pos_embed", ".group_token"))


def segformer_decays(name: str) -> bool:
    """Of SegFormer's: classification's rule, but the more specific key `head` wins over it."""
    return "head" in name or authors_decay(name)


AUTHORS_RULES = {"upernet": (upernet_decays, 1.0), "segformer": (segformer_decays, 10.0)}
OURS = {
    "upernet": {"no_decay": "layer_norms"},
    "segformer": {"no_decay": "backbone_norms_and_biases", "head_lr_scale": 10.0},
}


@pytest.mark.parametrize("level", [1, 2, 3, 4])
@pytest.mark.parametrize("decoder", ["upernet", "segformer"])
def test_segmentation_groups_are_the_authors(decoder, level):
    decays, head_scale = AUTHORS_RULES[decoder]
    # Each tensor of their state dict is filled with its (decay, learning rate), which takes the rule to our names.
    marks = {
        name: torch.full(shape, complex(0.01 * decays(name), head_scale if "head" in name else 1.0))
        for name, shape, _ in official.entries(f"{decoder}_L{level}")
    }
    expected = {name: mark.flatten()[0] for name, mark in convert_official(marks).items()}
    with torch.device("meta"):
        model = gpvit.create_model(f"{decoder}_gpvit_l{level}")
    by_name = names_by_group(model, parameter_groups(model, lr=1.0, weight_decay=0.01, **OURS[decoder]))
    assert {name: (group["weight_decay"], group["lr"]) for name, group in by_name.items()} == {
        name: pytest.approx((expected[name].real.item(), expected[name].imag.item()))
        for name, _ in model.named_parameters()
    }


def test_segmentation_decay_in_words():
    model = gpvit.create_model("upernet_gpvit_nano", num_classes=3)
    groups = parameter_groups(model, lr=1, weight_decay=1, no_decay="layer_norms")
    decay = {name: group["weight_decay"] for name, group in names_by_group(model, groups).items()}
    assert decay["backbone.model.norm.weight"] == decay["backbone.model.norm.bias"] == 1  # `ln1` is not called a norm
    assert decay["backbone.model.feature_norms.2.weight"] == decay["backbone.model.blocks.0.norm.bias"] == 0
    assert decay["backbone.model.pos_embed"] == decay["backbone.model.blocks.1.group_tokens"] == 0
    assert decay["backbone.model.stem.first.norm.weight"] == decay["backbone.model.stem.proj.bias"] == 1
    assert decay["decoder.merge.norm.bias"] == decay["auxiliary.classifier.bias"] == 1
    groups = parameter_groups(model, lr=1, weight_decay=1, no_decay="backbone_norms_and_biases", head_lr_scale=10)
    by_name = names_by_group(model, groups)
    assert by_name["decoder.merge.norm.bias"] == by_name["auxiliary.classifier.weight"]
    assert (by_name["decoder.merge.norm.bias"]["weight_decay"], by_name["decoder.merge.norm.bias"]["lr"]) == (1, 10)
    assert by_name["backbone.model.norm.weight"]["weight_decay"] == 0
    assert by_name["backbone.model.stem.first.norm.weight"]["weight_decay"] == 0
    assert by_name["backbone.model.blocks.0.attn.vertical.lepe.bias"]["weight_decay"] == 1
    assert len(groups) == 3


@pytest.mark.parametrize("no_decay", ["layer_norms", "backbone_norms_and_biases"])
def test_any_backbone_can_be_grouped(no_decay):
    model = gpvit.create_model("segformer_resnet10t", num_classes=3)
    groups = parameter_groups(model, lr=1, weight_decay=1, no_decay=no_decay)
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    spared_here = {name for name, group in names_by_group(model, groups).items() if not group["weight_decay"]}
    norms = {name for name, parameter in model.backbone.named_parameters(prefix="backbone") if parameter.ndim == 1}
    assert spared_here == (norms if no_decay == "backbone_norms_and_biases" else set())


def detector_decays(name: str) -> bool:
    """Of the detectors' configurations: five parts of names are given a decay of zero, nothing else is."""
    return not any(part in name for part in ("level_embed", "pos_embed", "norm", "bias", ".group_token"))


@pytest.mark.parametrize("level", [1, 2, 3, 4])
@pytest.mark.parametrize(("detector", "authors_detector"), [("mask_rcnn", "maskrcnn"), ("retinanet", "retinanet")])
def test_detection_groups_are_the_authors(detector, authors_detector, level):
    marks = {
        name: torch.full(shape, float(detector_decays(name)))
        for name, shape, _ in official.entries(f"{authors_detector}_L{level}")
    }
    expected = {name: 0.05 * mark.flatten()[0].item() for name, mark in convert_official(marks).items()}
    with torch.device("meta"):
        model = gpvit.create_model(f"{detector}_gpvit_l{level}")
    groups = parameter_groups(model, lr=1, weight_decay=0.05, no_decay="biases_and_layer_norms")
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    assert {name: group["weight_decay"] for name, group in names_by_group(model, groups).items()} == {
        name: pytest.approx(expected[name]) for name, _ in model.named_parameters()
    }
    assert {group["lr"] for group in groups} == {1}


@pytest.mark.parametrize("detector", ["mask_rcnn_gpvit_nano", "mask_rcnn_vit_tiny_patch16_224"])
def test_detection_decay_in_words(detector):
    model = gpvit.create_model(detector, num_classes=3, channels=16)
    groups = parameter_groups(model, lr=1, weight_decay=1, no_decay="biases_and_layer_norms")
    decay = {name: group["weight_decay"] for name, group in names_by_group(model, groups).items()}
    assert decay["backbone.body.injectors.0.gamma"] == decay["backbone.body.spatial_prior.stem.0.norm.weight"] == 1
    assert decay["backbone.fpn.inner_blocks.0.1.weight"] == decay["roi_heads.box_head.0.1.weight"] == 1
    assert decay["backbone.body.norms.4.weight"] == decay["backbone.body.level_embed"] == 0
    assert decay["backbone.body.backbone.pos_embed"] == decay["roi_heads.box_predictor.cls_score.bias"] == 0
    layer_norms = [name for name, module in model.named_modules() if isinstance(module, torch.nn.LayerNorm)]
    assert layer_norms
    assert {decay[f"{name}.weight"] for name in layer_norms} == {0}


@pytest.mark.parametrize("name", ["segformer_gpvit_nano", "mask_rcnn_gpvit_nano"])
def test_muon_moves_matrices_and_adamw_the_rest(name):
    model = gpvit.create_model(name, num_classes=3)
    config = OptimConfig(lr=0.1, weight_decay=0.5, betas=(0.9, 0.98), optimizer="muon")
    created, _ = create_optimizer(model, config, total_steps=1, epoch_steps=1, images_per_step=1)
    names = {id(p): n for n, p in model.named_parameters()}
    by_rule = {True: set(), False: set()}
    for group in created.param_groups:
        by_rule[bool(group.get("use_fallback"))] |= {names[id(p)] for p in group["params"]}
        assert group["lr"] == pytest.approx(0.03 if group.get("use_fallback") else 0.1)
        assert group["weight_decay"] in (0, 0.5)
    assert by_rule[True] | by_rule[False] == set(names.values())
    assert not by_rule[True] & by_rule[False]
    gpvit_name = next(n for n in names.values() if n.endswith("blocks.0.mlp.fc1.weight")).removesuffix(
        "blocks.0.mlp.fc1.weight"
    )
    assert {f"{gpvit_name}{n}" for n in ("blocks.0.mlp.fc1.weight", "stem.proj.weight")} <= by_rule[False]
    assert {
        f"{gpvit_name}{n}"
        for n in ("pos_embed", "blocks.1.group_tokens", "blocks.0.mlp.fc1.bias", "blocks.0.dwconv.weight")
    } <= by_rule[True]
    assert {n for n in names.values() if n.startswith(model.head_names)} <= by_rule[True]


@pytest.mark.parametrize(
    ("name", "no_decay", "head_scale"),
    [
        ("upernet_gpvit_nano", "layer_norms", 10),
        ("segformer_vit_tiny_patch16_224", "layer_norms", 10),
        ("mask_rcnn_gpvit_nano", "biases_and_layer_norms", 1),
        ("retinanet_vit_tiny_patch16_224", "biases_and_layer_norms", 1),
    ],
)
def test_layer_decay_slows_the_layers_below_and_keeps_the_heads_and_the_weight_decay(name, no_decay, head_scale):
    model = gpvit.create_model(name, num_classes=3)
    settings = {"lr": 0.1, "weight_decay": 0.3, "no_decay": no_decay, "head_lr_scale": head_scale}
    before = names_by_group(model, parameter_groups(model, **settings))
    after = names_by_group(model, parameter_groups(model, layer_decay=0.5, **settings))
    assert after.keys() == before.keys() == {n for n, _ in model.named_parameters()}
    assert all(after[n]["weight_decay"] == before[n]["weight_decay"] for n in before)
    prefix, _ = find_transformer(model)
    for n, group in after.items():
        block = re.match(re.escape(prefix) + r"blocks\.(\d+)", n)
        if block:
            layers_above = 12 - int(block[1])
        elif n.startswith(prefix):
            layers_above = 1 if "norm" in n and "stem" not in n else 13
        else:
            layers_above = 0
        in_backbone = n.startswith("backbone.") or head_scale == 1
        assert group["lr"] == pytest.approx(0.1 * (1 if in_backbone else head_scale) * 0.5**layers_above), n


def test_layer_decay_needs_layers():
    model = gpvit.create_model("upernet_resnet10t", num_classes=3)
    with pytest.raises(ValueError, match=r"layer_decay: 0\.5 needs a plain transformer.*leave it out"):
        parameter_groups(model, lr=0.1, weight_decay=0.3, layer_decay=0.5)
