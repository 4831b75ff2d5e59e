import re
from itertools import pairwise

import pytest
import timm
import torch
from golden import official

import gpvit  # noqa: F401  timm learns the models
from gpvit.models.official import convert_official
from gpvit.tasks.optimizers import adamw, no_decay_names, parameter_groups

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
    spared = no_decay_names(model)
    assert {name: name not in spared for name, _ in model.named_parameters()} == {
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
    spared = no_decay_names(model)
    assert all(group["weight_decay"] == (0.0 if name in spared else 0.3) for name, group in by_name.items())


def test_layer_decay_sets_real_learning_rates():
    model = timm.create_model("gpvit_nano", num_classes=3)
    by_name = names_by_group(model, adamw(model, lr=0.1, layer_decay=0.5).param_groups)
    assert by_name["head.weight"]["lr"] == pytest.approx(0.1)
    rates = [by_name[f"blocks.{i}.mlp.fc1.weight"]["lr"] for i in range(12)]
    assert all(later == pytest.approx(2 * earlier) for earlier, later in pairwise(rates))
    assert by_name["stem.proj.weight"]["lr"] == by_name["pos_embed"]["lr"] == pytest.approx(rates[0] / 2)
    assert all(group["lr"] == 0.1 for group in adamw(model, lr=0.1).param_groups)
