import pytest
import torch
from torch import nn

from gpvit.layers.interaction import ConvFeedForward, Extractor, Geometry, Injector
from gpvit.layers.spatial_prior import SpatialPrior

SHAPES = [(6, 8), (3, 4)]


def test_an_untrained_injector_changes_nothing():
    geometry = Geometry(torch.rand(48, 2), SHAPES)
    x, pyramid = torch.randn(2, 48, 12), torch.randn(2, 60, 12)
    injector = Injector(12, num_levels=2, num_heads=3, num_points=4)
    assert torch.equal(injector(x, pyramid, geometry), x)
    nn.init.ones_(injector.gamma)
    assert not torch.allclose(injector(x, pyramid, geometry), x)


def test_an_extractor_reads_where_its_tokens_are():
    extractor = Extractor(12, num_heads=3, num_points=1)
    nn.init.zeros_(extractor.mlp.fc2.weight)
    nn.init.zeros_(extractor.mlp.fc2.bias)
    nn.init.zeros_(extractor.attn.offsets.bias)
    x, pyramid = torch.randn(1, 12, 12), torch.randn(1, 60, 12)
    cell = 5  # of a 3 x 4 grid: row 1, column 1
    places = torch.tensor([[1.5 / 4, 1.5 / 3]]).expand(60, 2)
    read = extractor.attn.proj(extractor.attn.value(extractor.norm_key(x[:, cell])))
    torch.testing.assert_close(extractor(pyramid, x, Geometry(places, [(3, 4)]), SHAPES), pyramid + read)


def test_maps_do_not_mix_in_the_convolutional_mlp():
    mlp = ConvFeedForward(16).double()
    x = torch.randn(2, 60, 16, dtype=torch.float64)
    together = mlp(x, SHAPES)
    apart = torch.cat([mlp(part, [shape]) for part, shape in zip(x.split([48, 12], dim=1), SHAPES, strict=True)], 1)
    torch.testing.assert_close(together, apart)


def test_drop_path_drops_the_mlp_of_a_whole_sample():
    mlp = ConvFeedForward(16, drop_path=0.5)
    x = torch.randn(64, 12, 16)
    kept = (mlp(x, [(3, 4)]) != x).flatten(1).any(1)
    assert 16 < kept.sum() < 48
    assert (mlp.eval()(x, [(3, 4)]) != x).flatten(1).any(1).all()


@pytest.mark.parametrize("strides", [(4, 8, 16, 32), (8, 16, 32)])
@pytest.mark.parametrize(("height", "width"), [(64, 96), (33, 47), (1, 70)])
def test_spatial_prior_maps_measure_the_image_by_their_strides(strides, height, width):
    maps = SpatialPrior(in_chans=2, dim=24, strides=strides, width=8).eval()(torch.randn(2, 2, height, width))
    assert {stride: tuple(m.shape) for stride, m in maps.items()} == {
        stride: (2, 24, -(-height // stride), -(-width // stride)) for stride in strides
    }
