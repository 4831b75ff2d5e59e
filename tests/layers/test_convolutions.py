"""Folding must never be seen: not in the numbers, not by what people put on, or in the place of, the two layers."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from gpvit.layers.convolutions import ConvNorm, on_grid


def layer_with_statistics(**options) -> ConvNorm:
    torch.manual_seed(0)
    layer = ConvNorm(4, 6, kernel_size=3, stride=2, padding=1, groups=2, **options).double()
    for tensor in (layer.norm.weight, layer.norm.bias, layer.norm.running_mean):
        nn.init.normal_(tensor)
    nn.init.uniform_(layer.norm.running_var, 0.5, 2.0)
    return layer.eval()


def test_folding_gives_the_same_numbers_and_gradients():
    layer = layer_with_statistics()
    x = torch.randn(2, 4, 7, 9, dtype=torch.float64, requires_grad=True)
    inputs = (x, *layer.parameters())
    folded, plain = layer(x), layer.norm(layer.conv(x))
    torch.testing.assert_close(folded, plain)
    cotangent = torch.randn_like(plain)
    for a, b in zip(
        torch.autograd.grad(folded, inputs, cotangent), torch.autograd.grad(plain, inputs, cotangent), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_training_counts_the_batch():
    layer = ConvNorm(3, 4, kernel_size=1).train()
    x = torch.randn(2, 3, 5, 5)
    y = layer(x)
    torch.testing.assert_close(y.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    assert layer.norm.num_batches_tracked == 1


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


def _biased(layer: ConvNorm) -> None:
    layer.conv.bias = nn.Parameter(torch.randn(6, dtype=torch.float64))


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
    "bias by hand": _biased,
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
    "norm without affine": lambda m: setattr(m, "norm", nn.BatchNorm2d(6, affine=False).double()),
    "synchronised norm": lambda m: setattr(m, "norm", nn.SyncBatchNorm(6).double()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_stands_on_or_in_the_place_of_a_layer_acts_in_evaluation(change):
    layer = layer_with_statistics()
    CHANGES[change](layer)
    layer.eval()
    x = torch.randn(2, 4, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(layer(x), layer.norm(layer.conv(x)), rtol=0, atol=0)


def test_padding_by_other_values_is_kept():
    layer = layer_with_statistics(padding_mode="reflect")
    x = torch.randn(2, 4, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(layer(x), layer.norm(layer.conv(x)))


def test_backward_hooks_of_the_convolution_are_called():
    layer, calls = layer_with_statistics(), []
    layer.conv.register_full_backward_hook(lambda *_: calls.append(1))
    layer(torch.randn(2, 4, 8, 8, dtype=torch.float64, requires_grad=True)).sum().backward()
    assert calls


def test_an_exported_graph_holds_the_convolution_and_its_own_weights():
    layer = layer_with_statistics().float()
    x = torch.rand(2, 4, 8, 8)
    program = torch.export.export(layer, (x,))
    (convolution,) = (node for node in program.graph.nodes if "conv2d" in str(node.target))
    assert convolution.args[1].op == "placeholder"
    torch.testing.assert_close(program.module()(x), layer(x))


def test_a_layer_for_maps_sees_tokens_channels_last():
    conv, x = nn.Conv2d(4, 6, 3, padding=1), torch.rand(2, 5, 7, 4)
    seen = []
    conv.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    torch.testing.assert_close(on_grid(conv, x), conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
    assert seen[0].data_ptr() == x.data_ptr()
