import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gpvit.layers.local_attention import CrossShapedAttention, LocalBlock


def randomised(module: nn.Module) -> nn.Module:
    """Give every parameter, norms and biases too, a value that matters."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return module.double().eval()


def stripe_by_stripe(layer: CrossShapedAttention, x: torch.Tensor) -> torch.Tensor:
    """The layer as the paper says it: each image, direction, stripe and head by itself."""
    halves = []
    for down, direction in ((True, layer.vertical), (False, layer.horizontal)):
        query, key, value = (x @ direction.qkv.weight.T + direction.qkv.bias).chunk(3, dim=-1)
        out = torch.zeros_like(value)
        for b in range(x.shape[0]):
            for start in range(0, x.shape[2 if down else 1], layer.stripe_width):
                cut = slice(start, start + layer.stripe_width)
                stripe = (b, slice(None), cut) if down else (b, cut)
                out[stripe] = one_stripe(direction, query[stripe], key[stripe], value[stripe])
        halves.append(out)
    return torch.cat(halves, dim=-1) @ layer.proj.weight.T + layer.proj.bias


def one_stripe(direction: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    answers = []
    for q, k, v in zip(*(t.flatten(0, 1).chunk(direction.num_heads, dim=-1) for t in (query, key, value)), strict=True):
        answers.append(((q * q.shape[-1] ** -0.5) @ k.T).softmax(dim=-1) @ v)
    # zeros surround the stripe, whatever its neighbours hold
    lepe, channels = direction.lepe, value.shape[-1]
    position = F.conv2d(value.permute(2, 0, 1)[None], lepe.weight, lepe.bias, padding=1, groups=channels)
    return torch.cat(answers, dim=-1).reshape(value.shape) + position[0].permute(1, 2, 0)


@pytest.mark.parametrize(
    ("grid", "dim", "heads", "width"),
    [
        ((4, 6), 24, 4, 2),
        ((2, 2), 24, 12, 2),
        ((8, 2), 12, 2, 2),
        ((2, 10), 12, 2, 2),
        ((6, 9), 16, 4, 3),
        ((3, 5), 8, 2, 1),
    ],
)
def test_stripe_attention_is_a_loop_over_stripes(grid, dim, heads, width):
    layer = randomised(CrossShapedAttention(dim, heads, width))
    x = torch.randn(2, *grid, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(layer(x), stripe_by_stripe(layer, x), rtol=1e-9, atol=1e-9)


def test_no_channel_half_sees_beyond_its_stripe():
    layer = randomised(CrossShapedAttention(24, 4, 2))
    nn.init.eye_(layer.proj.weight)
    x = torch.randn(1, 8, 8, 24, dtype=torch.float64)
    changed = x.clone()
    changed[0, 2, 5] += 1.0
    touched = (layer(changed) - layer(x)).abs() > 1e-12
    vertical, horizontal = touched[0, ..., :12].any(-1), touched[0, ..., 12:].any(-1)
    expected = torch.zeros(8, 8, dtype=torch.bool)
    assert torch.equal(vertical, expected.index_fill(1, torch.tensor([4, 5]), True))
    assert torch.equal(horizontal, expected.index_fill(0, torch.tensor([2, 3]), True))


@pytest.mark.parametrize("heads", [3, 5, 10])
def test_heads_that_do_not_fit_are_refused(heads):
    with pytest.raises(ValueError, match=f"must be even and divide dim=24; got {heads}"):
        CrossShapedAttention(24, heads, 2)


@pytest.mark.parametrize("training", [False, True])
def test_local_block_is_its_formula(training):
    block = randomised(LocalBlock(24, num_heads=4)).train(training)
    x = torch.randn(2, 6, 4, 24, dtype=torch.float64)
    mlp = block.mlp
    y = x + stripe_by_stripe(block.attn, F.layer_norm(x, (24,), block.norm.weight, block.norm.bias, eps=1e-6))
    hidden = F.gelu(F.layer_norm(y, (24,), mlp.norm.weight, mlp.norm.bias, eps=1e-6) @ mlp.fc1.weight.T + mlp.fc1.bias)
    y = y + hidden @ mlp.fc2.weight.T + mlp.fc2.bias
    y = F.conv2d(y.permute(0, 3, 1, 2), block.dwconv.weight, padding=1, groups=24).permute(0, 2, 3, 1)
    torch.testing.assert_close(block(x), y, rtol=1e-9, atol=1e-9)
    assert block.dwconv.bias is None
