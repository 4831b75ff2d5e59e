"""A prepared network computes what the network does, and follows it."""

import copy
from threading import Lock
from typing import Any

import pytest
import timm
import torch
from models.test_folding import SYSTEMS, difference, drawn
from torch import nn

import gpvit
from gpvit.layers.packed_linear import PackedLinear
from gpvit.models import prepared
from gpvit.models.prepared import Prepared, optimize


@pytest.fixture(autouse=True)
def packs(monkeypatch) -> None:
    monkeypatch.setattr(prepared, "packing_pays", lambda: True)


def small(**options: Any) -> gpvit.GPViT:
    kinds = [{"kind": "local", "num_heads": 2}, {"kind": "group", "num_groups": 4, "num_heads": 2}]
    options = {"embed_dim": 24, "num_classes": 5, "pool_heads": 2, "blocks": kinds, **options}
    return drawn(gpvit.GPViT(**options)).float()


@torch.inference_mode()
@pytest.mark.parametrize("name", [*SYSTEMS, "vit_tiny_patch16_224", "resnet10t"])
def test_every_system_computes_the_same(name):
    model = drawn(gpvit.create_model(name, num_classes=5) if name in SYSTEMS else timm.create_model(name)).float()
    images = torch.rand(2, 3, *((224, 224) if name.startswith("vit") else (72, 40)))
    detects = getattr(model, "task", "") == "detection"
    run = (lambda m: list(m.backbone(images).values())) if detects else lambda m: [m(images)]
    expected = run(model)
    for other in (optimize(model), Prepared(model)()):
        assert other is not model
        assert max(map(difference, expected, run(other))) < 1e-5
    assert any(isinstance(module, PackedLinear) for module in other.modules())


def test_the_network_itself_stays_as_it_is_and_shares_its_memory():
    model, x = small().train(), torch.rand(1, 3, 32, 32)
    before = copy.deepcopy(model.state_dict())
    ready = Prepared(model)()
    assert model.training
    assert not ready.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert ready.blocks[0].mlp.fc1.weight.data_ptr() == model.blocks[0].mlp.fc1.weight.data_ptr()
    assert optimize(model).blocks[0].mlp.fc1.weight.data_ptr() != model.blocks[0].mlp.fc1.weight.data_ptr()
    model(x).sum().backward()
    assert not any(parameter.grad is None for parameter in model.parameters())


def step(model: gpvit.GPViT) -> None:
    model(torch.rand(2, 3, 32, 32)).square().sum().backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()


CHANGES = {
    "an optimizer's step": step,
    "statistics of a batch": lambda m: m.train()(torch.rand(2, 3, 32, 32)),
    "other weights loaded": lambda m: m.load_state_dict(small().state_dict()),
    "another classifier": lambda m: m.reset_classifier(3),
    "a block less": lambda m: m.prune_intermediate_layers([0], prune_head=False),
    "a hook": lambda m: m.blocks[0].register_forward_hook(lambda *a: 2 * a[-1]),
    "a hook before": lambda m: m.blocks[1].mlp.register_forward_pre_hook(lambda _, a: (2 * a[0],)),
    "a forward by hand": lambda m: setattr(m.norm, "forward", torch.sin),
    "another type": lambda m: m.double(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changes_are_followed(change):
    model, x = small(), torch.rand(1, 3, 32, 32)
    ready = Prepared(model)
    first = ready()
    assert ready() is first
    CHANGES[change](model)
    model.eval()
    x = x.to(model.pos_embed)
    with torch.inference_mode():
        torch.testing.assert_close(ready()(x), model(x), rtol=1e-4, atol=1e-5)


def test_what_cannot_be_copied_and_what_is_hooked_runs_itself():
    model = small()
    model.lock = Lock()
    assert Prepared(model)() is model
    model = small()
    model.head.register_forward_hook(lambda *_: None)
    assert Prepared(model)() is model


def test_a_linear_with_a_weight_of_its_own_kind_is_left_alone():
    model, x = small(), torch.rand(1, 3, 32, 32)
    nn.utils.parametrizations.weight_norm(model.blocks[0].mlp.fc1)
    other = optimize(model)
    assert isinstance(other.blocks[0].mlp.act, nn.GELU)
    with torch.inference_mode():
        torch.testing.assert_close(other(x), model(x), rtol=1e-4, atol=1e-5)
