import pytest
import torch
import torch.nn.functional as F

from gpvit.layers import token_block
from gpvit.layers.token_block import FeedForward


@pytest.mark.parametrize("shape", [(1, 1, 8), (2, 5, 7, 8), (0, 3, 8), (3, 1024, 8), (1, 5001, 8)])
def test_inference_in_slices_is_the_formula(shape):
    layer = FeedForward(8, ratio=3.0, eps=1e-6).double().eval()
    torch.nn.init.normal_(layer.norm.weight)
    x = torch.randn(shape, dtype=torch.float64)
    hidden = F.gelu(
        F.layer_norm(x, (8,), layer.norm.weight, layer.norm.bias, eps=1e-6) @ layer.fc1.weight.T + layer.fc1.bias
    )
    expected = x + hidden @ layer.fc2.weight.T + layer.fc2.bias
    torch.testing.assert_close(layer(x), expected)
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), expected)
    assert hidden.shape[-1] == 24


def test_inference_never_holds_all_hidden_activations(monkeypatch):
    monkeypatch.setattr(token_block, "TOKENS_AT_ONCE", 16)
    seen = []
    layer = FeedForward(8).eval()
    layer.fc1.register_forward_hook(lambda module, args, out: seen.append(out.shape[0]))
    with torch.no_grad():
        layer(torch.randn(2, 20, 8))
    assert sum(seen) == 40
    assert max(seen) <= 1.5 * 16
