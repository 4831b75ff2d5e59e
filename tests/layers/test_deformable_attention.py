import torch

from gpvit.layers.interaction import DeformableAttention

SHAPES = [(8, 10), (4, 5)]


def centres(height: int, width: int) -> torch.Tensor:
    x, y = (torch.arange(width) + 0.5) / width, (torch.arange(height) + 0.5) / height
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).flatten(0, 1)


def test_heads_start_in_directions_of_their_own_one_cell_further_a_point():
    attention = DeformableAttention(dim=16, num_levels=2, num_heads=8, num_points=3)
    offsets = attention.offsets.bias.view(8, 2, 3, 2)
    around = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
    expected = torch.tensor(around, dtype=torch.float32)[:, None, None] * torch.arange(1, 4)[:, None]
    torch.testing.assert_close(offsets, expected.expand(8, 2, 3, 2))
    assert not attention.offsets.weight.any()
    assert not attention.weights.weight.any()


def test_weights_of_all_levels_and_points_sum_to_one():
    attention = DeformableAttention(dim=12, num_levels=2, num_heads=3)
    torch.nn.init.normal_(attention.weights.weight)
    torch.nn.init.zeros_(attention.offsets.bias)
    query, tokens = torch.randn(2, 80, 12), torch.randn(12).expand(2, 100, 12)
    # All tokens are alike, so that samples at the queries' own cells are too, whatever their weights.
    expected = attention.proj(attention.value(tokens[:, :80]))
    inside = ((centres(8, 10) > 0.1) & (centres(8, 10) < 0.9)).all(-1)
    torch.testing.assert_close(attention(query, centres(8, 10), tokens, SHAPES)[:, inside], expected[:, inside])


def test_an_offset_counts_cells_of_the_level():
    attention = DeformableAttention(dim=4, num_levels=1, num_heads=1, num_points=1)
    for linear in (attention.value, attention.proj):
        torch.nn.init.eye_(linear.weight)
    attention.offsets.bias.data.copy_(torch.tensor([2.0, -1.0]))
    tokens = torch.randn(1, 80, 4)
    out = attention(torch.randn(1, 80, 4), centres(8, 10), tokens, [(8, 10)]).view(8, 10, 4)
    torch.testing.assert_close(out[1:, :8], tokens.view(8, 10, 4)[:-1, 2:], rtol=1e-4, atol=1e-5)
    assert not out[0].any()
    assert not out[:, 8:].any()


def test_places_stay_precise_in_sixteen_bits():
    attention = DeformableAttention(dim=12, num_levels=1, num_heads=3)
    shape = (64, 512)  # bfloat16 cannot tell cell 300 from 301
    query, tokens = torch.randn(1, 50, 12), torch.randn(1, 64 * 512, 12)
    places = centres(*shape)[torch.randint(64 * 512, (50,))]
    expected = attention(query, places, tokens, [shape])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = attention(query, places, tokens, [shape])
    assert out.dtype == torch.bfloat16
    assert (out - expected).abs().max() < 0.02 * expected.abs().max()
