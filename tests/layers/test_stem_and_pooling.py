import pytest
import torch
import torch.nn.functional as F

from gpvit.layers.pooling import AttentionPool, build_pool
from gpvit.layers.stem import ConvStem


@pytest.mark.parametrize("multiple", [1, 2, 4])
@pytest.mark.parametrize("side", range(32, 68))
def test_token_grid_is_the_least_sufficient_multiple(side, multiple):
    with torch.device("meta"):
        grid = ConvStem(3, 8, width=4, grid_multiple=multiple)(torch.empty(1, 3, side, 64)).shape[1:3]
    enough = -(-side // (8 * multiple)) * multiple
    assert grid == (enough, 8)


def test_stem_pads_the_half_resolution_map_not_the_image():
    stem = ConvStem(3, 8, num_convs=2, width=4).eval()
    for norm in (m for m in stem.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        torch.nn.init.uniform_(norm.running_mean, -1, 1)
    x = torch.randn(1, 3, 100, 76)  # half: 50x38, to be 56x40
    half = F.relu(stem.first.norm(F.conv2d(x, stem.first.conv.weight, stride=2, padding=3)))
    for layer in stem.extra:
        half = F.relu(layer.norm(F.conv2d(half, layer.conv.weight, padding=1)))
    padded = torch.zeros(1, 4, 56, 40)
    padded[..., :50, :38] = half
    expected = F.conv2d(padded, stem.proj.weight, stem.proj.bias, stride=4).permute(0, 2, 3, 1)
    torch.testing.assert_close(stem(x), expected, rtol=1e-5, atol=1e-5)


def test_average_pool_is_the_mean():
    x = torch.randn(2, 3, 5, 7)
    torch.testing.assert_close(build_pool("avg", 8, 2)(x), x.flatten(1, 2).mean(1))


def test_attention_pool_is_its_formula_and_starts_as_the_mean():
    pool, x = AttentionPool(12, num_heads=3), torch.randn(2, 4, 5, 12)
    torch.testing.assert_close(pool(x), x.mean(dim=(1, 2)))

    torch.nn.init.normal_(pool.token)
    tokens = x.flatten(1, 2)
    query, key = pool.norm(pool.token)[0], tokens @ pool.key.weight.T
    heads = [
        ((q @ k.mT) / 2).softmax(-1) @ v  # 2 = sqrt(12 / 3)
        for q, k, v in zip(*(t.chunk(3, dim=-1) for t in (query, key, tokens)), strict=True)
    ]
    torch.testing.assert_close(pool(x), torch.cat(heads, dim=-1).squeeze(1))
