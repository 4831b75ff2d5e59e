import torch
from torch import nn

from gpvit.layers.convolutions import ConvNorm, on_grid


def test_training_counts_the_batch():
    layer = ConvNorm(3, 4, kernel_size=1).train()
    x = torch.randn(2, 3, 5, 5)
    y = layer(x)
    torch.testing.assert_close(y.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    assert layer.norm.num_batches_tracked == 1


def test_a_layer_for_maps_sees_tokens_channels_last():
    conv, x = nn.Conv2d(4, 6, 3, padding=1), torch.rand(2, 5, 7, 4)
    seen = []
    conv.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    torch.testing.assert_close(on_grid(conv, x), conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
    assert seen[0].data_ptr() == x.data_ptr()
