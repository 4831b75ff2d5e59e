import copy
import pickle

import pytest
import torch
from torch import nn

from gpvit.layers.packed_linear import PackedLinear


@pytest.fixture
def layers() -> tuple[nn.Sequential, PackedLinear]:
    linear = nn.Linear(6, 9).requires_grad_(False)
    return nn.Sequential(linear, nn.GELU()), PackedLinear(linear, gelu=True)


def test_it_computes_the_same(layers):
    plain, packed = layers
    x = torch.randn(4, 5, 6)
    torch.testing.assert_close(packed(x), plain(x))


def test_it_has_gradients(layers):
    plain, packed = layers
    x = torch.randn(4, 6, requires_grad=True)
    torch.testing.assert_close(*(torch.autograd.grad(layer(x).sum(), x) for layer in (packed, plain)))


def test_autocast_and_other_types_act(layers):
    plain, packed = layers
    x = torch.randn(4, 6)
    with torch.autocast("cpu", torch.bfloat16):
        assert packed(x).dtype == torch.bfloat16
        torch.testing.assert_close(packed(x), plain(x))
    torch.testing.assert_close(packed.double()(x.double()), plain.double()(x.double()))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_a_copy_is_packed_too(layers, copied):
    plain, packed = layers
    x = torch.randn(4, 6)
    for layer in (packed, copied(packed)):
        assert (layer._packed is None) == (packed._packed is None)
        torch.testing.assert_close(layer(x), plain(x))


def test_a_graph_holds_a_linear_of_its_own_weight(layers):
    plain, packed = layers
    x = torch.randn(4, 6)
    program = torch.export.export(packed, (x,))
    assert any("linear" in str(node.target) for node in program.graph.nodes)
    torch.testing.assert_close(program.module()(x), plain(x))
    torch.testing.assert_close(torch.jit.trace(packed, x)(x), plain(x))
