"""Packed products, held to those of PyTorch's own Linear."""

import pytest
import torch
import torch.nn.functional as F

from gpvit.ops import products
from gpvit.ops.products import pack, packed_linear, packing_pays

pytestmark = pytest.mark.skipif(pack(torch.ones(1, 1)) is None, reason="this PyTorch packs no weights")

INPUTS = {
    "rows": torch.randn(7, 6),
    "one row": torch.randn(1, 6),
    "vector": torch.randn(6),
    "grid": torch.randn(2, 3, 5, 6),
    "empty batch": torch.randn(0, 3, 6),
    "transposed": torch.randn(6, 7).T,
    "every other channel": torch.randn(3, 5, 12)[..., ::2],
    "part of more rows": torch.randn(4, 9, 6)[:, 2:5],
    "one row for all": torch.randn(1, 6).expand(5, 6),
    "prime": torch.randn(211, 6),
}


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("x", INPUTS.values(), ids=INPUTS)
def test_it_is_a_linear(x, bias, gelu):
    weight, shift = torch.randn(13, 6), torch.randn(13) if bias else None
    packed = pack(weight)
    assert packed is not None
    y, expected = packed_linear(x, packed, shift, gelu), F.linear(x, weight, shift)
    expected = F.gelu(expected) if gelu else expected
    assert y.shape == expected.shape
    assert y.numel() == 0 or (y - expected).abs().max() <= 1e-6 * expected.abs().max()


@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(2048, 216, 864), (2048, 864, 216), (513, 36, 108)])
def test_widths_of_real_layers(rows, inputs, outputs):
    x, weight, bias = torch.randn(rows, inputs), torch.randn(outputs, inputs), torch.randn(outputs)
    y, expected = packed_linear(x, pack(weight), bias, gelu=True), F.gelu(F.linear(x, weight, bias))
    assert (y - expected).abs().max() <= 1e-6 * expected.abs().max()


@pytest.mark.parametrize("weight", [torch.ones(2, 2).bfloat16(), torch.ones(2, 2).double()])
def test_other_types_are_not_packed(weight):
    assert pack(weight) is None


def test_nothing_is_packed_where_pytorch_cannot(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert pack(torch.ones(1, 1)) is None


def test_nothing_is_packed_where_the_name_is_missing(monkeypatch):
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    assert pack(torch.ones(1, 1)) is None


@pytest.mark.parametrize(("name", "pays"), [("AMD EPYC 9354", True), ("Intel(R) Xeon(R)", False), ("Apple M3", False)])
def test_it_is_used_where_it_pays(monkeypatch, name, pays):
    monkeypatch.setattr(products, "cpu_name", lambda: name)
    packing_pays.cache_clear()
    assert packing_pays() == (pays and torch.backends.mkl.is_available())
    packing_pays.cache_clear()
