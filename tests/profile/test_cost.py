import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from gpvit.profile.cost import profile_model
from gpvit.profile.workload import parse_size

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "macs.json").read_text())


@pytest.mark.parametrize("level", ["1", *(pytest.param(level, marks=pytest.mark.slow) for level in "234")])
def test_equals_the_macs_of_the_authors_code(level):
    with torch.device("meta"):
        model = timm.create_model(f"gpvit_l{level}")
    cost = profile_model(model, (224, 224))
    assert cost.macs == GOLDEN[f"cls_L{level}"]["total"]
    assert cost.macs_without_attention == GOLDEN[f"cls_L{level}"]["without_attention_matmuls"]
    sizes = {size: profile_model(model, parse_size(size)).macs for size in GOLDEN[f"cls_L{level}_sizes"]}
    assert sizes == GOLDEN[f"cls_L{level}_sizes"]


@pytest.mark.parametrize("size", [(32, 32), (64, 48), (224, 224), (800, 1280)])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_vit_equals_a_hand_count(size, batch_size):
    width, depth, patch, classes = 192, 12, 16, 1000
    with torch.device("meta"):
        model = timm.create_model("vit_tiny_patch16_224", img_size=size)
    cost = profile_model(model, size, batch_size=batch_size)
    patches = (size[0] // patch) * (size[1] // patch)
    tokens = patches + 1
    linear = 12 * tokens * width**2
    attention = 2 * tokens**2 * width
    rows = {row.part: row for row in cost.rows}
    assert rows["patch_embed"].macs == batch_size * patches * width * 3 * patch**2
    for i in range(depth):
        assert rows[f"blocks.{i}"].macs == batch_size * (linear + attention)
        assert rows[f"blocks.{i}"].macs_without_attention == batch_size * linear
        assert rows[f"blocks.{i}"].parameters == 12 * width**2 + (3 + 1 + 4 + 1) * width + 4 * width
    assert rows["head"].macs == batch_size * width * classes
    assert rows["(own)"].parameters == width * (tokens + 1)
    assert cost.macs == sum(row.macs for row in cost.rows)
    assert cost.macs - cost.macs_without_attention == batch_size * depth * attention


def test_convolutions_equal_a_hand_count():
    model = nn.Sequential(
        nn.Conv2d(4, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
        nn.ConvTranspose2d(8, 6, 2, stride=2),
        nn.Conv2d(6, 2, (1, 3), dilation=2, groups=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2, 5),
    )
    cost = profile_model(model, (10, 14), in_chans=4)
    expected = {
        "0": (4 * 9 * 8 + 8, 5 * 7 * 8 * 4 * 9),
        "1": (16, 0),
        "2": (8 * 9, 5 * 7 * 8 * 9),
        "3": (8 * 6 * 4 + 6, 5 * 7 * 8 * 6 * 4),
        "4": (2 * 3 * 3 + 2, 10 * 10 * 2 * 3 * 3),
        "7": (15, 10),
    }
    assert {row.part: (row.parameters, row.macs) for row in cost.rows} == expected
    assert cost.macs == cost.macs_without_attention


class Attention(nn.Module):
    def __init__(self, spelling: str):
        super().__init__()
        self.spelling = spelling
        self.qkv = nn.Linear(3, 24, bias=False)
        self.mix = nn.Linear(16, 16)

    def forward(self, images):
        tokens = images.flatten(2).transpose(1, 2)
        q, k, v = self.qkv(tokens).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        if self.spelling == "fused":
            x = nn.functional.scaled_dot_product_attention(q, k, v)
        elif self.spelling == "matmul":
            x = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        else:
            x = torch.einsum("bhqk,bhkd->bhqd", torch.einsum("bhqd,bhkd->bhqk", q, k).softmax(-1), v)
        # A linear layer over a transposed input is the case that torch may turn into a batched product.
        return self.mix(x.transpose(-2, -1))


@pytest.mark.parametrize("spelling", ["fused", "matmul", "einsum"])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("grad", [False, True])
def test_attention_is_told_from_linear_layers(spelling, frozen, grad):
    model = Attention(spelling).requires_grad_(not frozen)
    with torch.set_grad_enabled(grad):
        cost = profile_model(model, (4, 4), batch_size=2)
    linear = 2 * (16 * 3 * 24 + 8 * 16 * 16)
    assert cost.macs_without_attention == linear
    assert cost.macs == linear + 2 * 2 * 16 * 16 * 8


@pytest.mark.parametrize(
    "name",
    ["test_resnet", "test_vit", "test_vit_relpos", "test_convnext", "test_maxvit", "test_efficientnet", "gpvit_nano"],
)
@pytest.mark.slow
def test_shapes_alone_give_the_count_of_a_real_run(name):
    model = timm.create_model(name).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    costs = [profile_model(model, (160, 160), depth=depth) for depth in (1, 2, 3)]
    counter = FlopCounterMode(display=False)
    with counter:
        model.eval()(torch.zeros(1, 3, 160, 160))
    for cost in costs:
        assert 2 * cost.macs == counter.get_total_flops()
        assert cost.parameters == sum(p.numel() for p in model.parameters())
        assert cost.macs_without_attention == costs[0].macs_without_attention
        assert len({row.part for row in cost.rows}) == len(cost.rows)
    assert len(costs[0].rows) < len(costs[1].rows) <= len(costs[2].rows)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_model_is_left_alone():
    model = timm.create_model("test_resnet").train()
    first = next(model.parameters())
    profile_model(model, (32, 32))
    assert model.training
    assert next(model.parameters()) is first
    assert {p.device.type for p in model.parameters()} == {"cpu"}


@pytest.mark.parametrize("name", ["test_vit", "gpvit_nano"])
def test_models_entered_by_another_method_are_listed_by_part(name):
    with torch.device("meta"):
        whole = profile_model(timm.create_model(name), (160, 160))
        backbone = profile_model(timm.create_model(name, features_only=True), (160, 160), depth=2)
    blocks = {row.part: row for row in whole.rows if row.part.startswith("blocks.")}
    assert blocks
    for part, row in blocks.items():
        assert replace(row, part=f"model.{part}") in backbone.rows


def test_rows_name_what_a_part_holds_itself():
    with torch.device("meta"):
        cost = profile_model(timm.create_model("gpvit_nano"), (64, 64), depth=2)
    rows = {row.part: row for row in cost.rows}
    assert rows["blocks.1.(own)"].parameters == 16 * 72
    assert "blocks.0.(own)" not in rows
    assert rows["blocks.0.mlp"].macs == 8 * 8 * 2 * 4 * 72**2


def test_shared_parameters_count_once():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 3, 1))
    model[2].weight = model[0].weight
    cost = profile_model(model, (8, 8))
    assert {row.part: row.parameters for row in cost.rows} == {"0": 12, "2": 3}
    assert cost.parameters == sum(p.numel() for p in model.parameters())


def test_as_data_it_holds_totals_and_rows():
    cost = profile_model(timm.create_model("test_vit", img_size=(64, 32)), (64, 32))
    record = asdict(cost)
    assert json.loads(json.dumps(record))["size"] == [64, 32]
    for name in ("parameters", "macs", "macs_without_attention"):
        assert record[name] == sum(row[name] for row in record["rows"]) == getattr(cost, name)


def test_depth_below_one_is_refused():
    with pytest.raises(ValueError, match="depth is 0"):
        profile_model(nn.Identity(), (8, 8), depth=0)
