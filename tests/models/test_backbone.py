import pytest
import torch

from gpvit.inference.groups import draw_groups
from gpvit.models.adapter import ViTAdapter
from gpvit.models.backbone import GPViT

SMALL = {"embed_dim": 24, "pool_heads": 2, "num_classes": 5}
HEADS = {"num_heads": 6}
KINDS = {"local": HEADS, "group": {**HEADS, "num_groups": 4}}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_block_learns_on_odd_grids(kind):
    torch.manual_seed(0)
    blocks = [{"kind": kind, **KINDS[kind]}] * 2
    model = GPViT(blocks=blocks, **SMALL)
    logits = model(torch.rand(2, 3, 72, 104))  # 9 x 13 tokens
    assert logits.shape == (2, 5)
    logits.square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("stride", [4, 8, 16])
def test_tokens_measure_the_stride(stride):
    model = GPViT(blocks=[{"kind": "group", **KINDS["group"]}], stride=stride, **SMALL).eval()
    images = torch.rand(1, 3, 72, 104)
    grid = (-(-72 // stride), -(-104 // stride))
    assert model.forward_features(images).shape == (1, *grid, 24)
    assert [info["reduction"] for info in model.feature_info] == [stride]
    maps = ViTAdapter(model, blocks=[[0, 0]], num_heads=2)(images)
    assert [tuple(x.shape[2:]) for x in maps] == [(18, 26), (9, 13), (5, 7), (3, 4)]


@pytest.mark.parametrize("stride", [3, 2, 12])
def test_other_strides_are_refused(stride):
    with pytest.raises(ValueError, match=f"stride must be a power of 2 from 4; got {stride}"):
        GPViT(stride=stride, **SMALL)


def test_groups_are_drawn_at_any_stride():
    model = GPViT(blocks=[{"kind": "group", **KINDS["group"]}], stride=16, img_size=64, **SMALL).eval()
    picture = draw_groups(model, torch.rand(3, 70, 64), size=64)
    (block,) = picture.blocks
    assert block.strength.shape == (4, 5, 4)
    assert picture.hard(block).size == picture.soft(block, 0).size
