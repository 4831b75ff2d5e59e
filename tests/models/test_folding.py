"""A fold is never seen: not in the numbers, nor by what people put on, or in the place of, the layers it touches."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune
from torchvision.ops import Conv2dNormActivation

import gpvit
from gpvit.layers.convolutions import ConvNorm
from gpvit.layers.folded_propagation import FoldedGrouping, FoldedUngrouping
from gpvit.layers.group_propagation import GroupPropagationBlock
from gpvit.models.folding import fold, fold_grouping, fold_sequence, fold_ungrouping

SYSTEMS = [
    "gpvit_nano",
    "upernet_gpvit_nano",
    "segformer_gpvit_nano",
    "mask_rcnn_gpvit_nano",
    "retinanet_gpvit_nano",
]


def drawn(model: Any) -> Any:
    """Give every layer values that show in the outputs, as training does; in float64, for evaluation."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_var is not None:
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3 if parameter.ndim == 1 else parameter[0].numel() ** -0.5)
    return model.double().eval()


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(((a - b).abs().max() / a.abs().max()).detach())


@torch.no_grad()
@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_computes_the_same(name):
    model = drawn(gpvit.create_model(name, num_classes=5))
    images = torch.rand(2, 3, 72, 40, dtype=torch.float64)
    before = copy.deepcopy(model.state_dict())
    folded = fold(model)
    run = (lambda m: list(m.backbone(images).values())) if model.task == "detection" else lambda m: [m(images)]
    assert max(map(difference, run(model), run(folded))) < 1e-12
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    assert sum(p.numel() for p in folded.parameters()) < sum(p.numel() for p in model.parameters())
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_detector_finds_the_same_objects():
    model = drawn(gpvit.create_model("retinanet_gpvit_nano", num_classes=3, min_size=64))
    images = [torch.rand(3, 60, 80, dtype=torch.float64)]
    (found,), (expected,) = fold(model)(images), model(images)
    assert len(expected["boxes"]) > 0
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def block(groups: int, **options: Any) -> GroupPropagationBlock:
    return drawn(GroupPropagationBlock(24, groups, num_heads=2, **options))


def test_projected_queries_gather_the_same():
    plain = block(groups=8)
    folded = copy.deepcopy(plain)
    fold_grouping(folded)
    assert isinstance(folded.grouping, FoldedGrouping)
    assert not isinstance(folded.ungrouping, FoldedUngrouping)
    x = torch.randn(2, 35, 24, dtype=torch.float64)
    for weights in (False, True):
        results = [b.grouping(b.group_tokens, x, weights) for b in (plain, folded)]
        for a, b in zip(*results, strict=True):
            assert (a is b is None) or difference(a, b) < 1e-12


@pytest.mark.parametrize(("groups", "few"), [(8, True), (16, False)])
def test_groups_hand_back_the_same(groups, few):
    plain = block(groups)
    folded = copy.deepcopy(plain)
    fold_ungrouping(folded)
    assert isinstance(folded.ungrouping, FoldedUngrouping) == few
    x, tokens = torch.randn(2, 35, 24, dtype=torch.float64), torch.randn(2, groups, 24, dtype=torch.float64)
    for weights in (False, True):
        results = [b.ungrouping(x, tokens, weights) for b in (plain, folded)]
        for a, b in zip(*results, strict=True):
            assert (a is b is None) or difference(a, b) < 1e-12


@pytest.mark.parametrize("options", [{"propagation": "none"}, {"propagation": "attention"}, {"fusion": "residual"}])
def test_other_kinds_of_block_compute_the_same(options):
    plain = block(groups=8, **options)
    x = torch.randn(2, 5, 7, 24, dtype=torch.float64)
    assert difference(plain(x), fold(plain)(x)) < 1e-12


def test_group_maps_are_the_same():
    model = drawn(
        gpvit.GPViT(embed_dim=24, blocks=[{"kind": "group", "num_groups": g, "num_heads": 2} for g in (4, 9)])
    )
    images = torch.rand(2, 3, 40, 56, dtype=torch.float64)
    for plain, folded in zip(model.group_maps(images).values(), fold(model).group_maps(images).values(), strict=True):
        assert max(map(difference, plain, folded)) < 1e-12


@pytest.mark.parametrize(
    ("conv", "norm"),
    [
        ({}, {}),
        ({"bias": True}, {}),
        ({"bias": True}, {"affine": False}),
        ({"stride": 2, "groups": 2}, {}),
        ({"padding_mode": "reflect"}, {}),
    ],
)
def test_a_norm_goes_into_the_convolution(conv, norm):
    layers = nn.Sequential(
        nn.Conv2d(4, 6, 3, padding=1, **{"bias": False, **conv}), nn.BatchNorm2d(6, **norm), nn.ReLU()
    )
    layers = drawn(layers)
    x = torch.randn(2, 4, 7, 9, dtype=torch.float64)
    expected = layers(x)
    fold_sequence(layers)
    assert isinstance(layers[1], nn.Identity)
    assert difference(expected, layers(x)) < 1e-12


def test_layers_of_torchvision_are_folded():
    layer = drawn(Conv2dNormActivation(4, 6))
    x = torch.randn(2, 4, 7, 9, dtype=torch.float64)
    folded = fold(layer)
    assert [type(each) for each in folded] == [nn.Conv2d, nn.Identity, nn.ReLU]
    assert difference(layer(x), folded(x)) < 1e-12


class Frozen(nn.Module):
    """A batch norm that others write: constants, and no `eps`."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.rand(6, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight.view(1, -1, 1, 1)


class LowRank(nn.Module):
    """A convolution with an update beside it, as adapters for fine-tuning wrap one."""

    def __init__(self, base: nn.Conv2d):
        super().__init__()
        self.base = base

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * self.base(x)


def _wrapped(layer: ConvNorm) -> None:
    inner = layer.conv.forward
    layer.conv.forward = lambda x: inner(x) + 1  # as accelerate's hooks do


def _pruned_then_loaded(layer: ConvNorm) -> None:
    prune.l1_unstructured(layer.conv, "weight", amount=0.5)
    layer(torch.rand(1, 4, 8, 8, dtype=torch.float64))
    layer.load_state_dict({n: t + 0.1 if "orig" in n else t for n, t in layer.state_dict().items()})


CHANGES: dict[str, Callable[[ConvNorm], object]] = {
    "forward hook of the convolution": lambda m: m.conv.register_forward_hook(lambda *a: a[-1] + 1),
    "forward hook of the norm": lambda m: m.norm.register_forward_hook(lambda *a: a[-1] * 2),
    "pre-hook": lambda m: m.norm.register_forward_pre_hook(lambda _, a: (a[0] + 1,)),
    "forward by hand": _wrapped,
    "pruned": lambda m: prune.l1_unstructured(m.conv, "weight", amount=0.5),
    "pruned, then loaded": _pruned_then_loaded,
    "weight norm": lambda m: parametrizations.weight_norm(m.conv),
    "spectral norm": lambda m: parametrizations.spectral_norm(m.conv),
    "low-rank update": lambda m: setattr(m, "conv", LowRank(m.conv)),
    "no norm": lambda m: setattr(m, "norm", nn.Identity()),
    "group norm": lambda m: setattr(m, "norm", nn.GroupNorm(2, 6).double()),
    "instance norm": lambda m: setattr(m, "norm", nn.InstanceNorm2d(6).double()),
    "frozen norm": lambda m: setattr(m, "norm", Frozen()),
    "norm without statistics": lambda m: setattr(m, "norm", nn.BatchNorm2d(6, track_running_stats=False).double()),
    "synchronised norm": lambda m: setattr(m, "norm", nn.SyncBatchNorm(6).double()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_stands_on_or_in_the_place_of_a_layer_acts_in_the_copy(change):
    layer = drawn(ConvNorm(4, 6, kernel_size=3, stride=2, padding=1, groups=2))
    CHANGES[change](layer)
    layer.eval()
    x = torch.randn(2, 4, 8, 8, dtype=torch.float64)
    expected = layer(x)
    assert torch.equal(fold(layer)(x), expected)
    assert torch.equal(layer(x), expected)


@pytest.mark.parametrize("path", ["grouping", "grouping.key", "ungrouping", "ungrouping.proj", "ungrouping.merge"])
def test_hooks_in_a_block_act_in_the_copy(path):
    plain = block(groups=8)
    double = lambda *a: tuple(2 * t for t in a[-1] if t is not None) + (None,) * (None in a[-1])  # noqa: E731
    hook = double if path in ("grouping", "ungrouping") else lambda *a: 2 * a[-1]
    x = torch.randn(2, 5, 7, 24, dtype=torch.float64)
    before = plain(x)
    plain.get_submodule(path).register_forward_hook(hook)
    expected = plain(x)
    assert not torch.allclose(before, expected) or path == "grouping.key"
    assert difference(expected, fold(plain)(x)) < 1e-12


def test_a_fold_is_made_with_the_statistics_of_training():
    layer = drawn(ConvNorm(4, 6, kernel_size=1)).train()
    folded = fold(layer)
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    assert layer.training
    assert not folded.training
    assert difference(layer.eval()(x), folded(x)) < 1e-12


@pytest.mark.slow
def test_a_folded_network_is_exported_for_all_sizes_and_traced():
    model = fold(
        drawn(
            gpvit.GPViT(
                embed_dim=24,
                num_classes=3,
                pool_heads=2,
                blocks=[
                    {"kind": "local", "num_heads": 2},
                    *({"kind": "group", "num_groups": g, "num_heads": 2} for g in (4, 9)),
                ],
            )
        )
    )
    anything = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    images, others = (torch.rand(*shape, dtype=torch.float64) for shape in ((2, 3, 56, 72), (1, 3, 40, 33)))
    exported = torch.export.export(model, (images,), dynamic_shapes={"x": anything}).module()
    traced = torch.jit.trace(model, images)
    for given in (images, others):
        torch.testing.assert_close(exported(given), model(given))
    torch.testing.assert_close(traced(images), model(images))
