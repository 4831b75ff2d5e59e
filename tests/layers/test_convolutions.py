import torch

from gpvit.layers.convolutions import ConvNorm


def test_folding_gives_the_same_numbers_and_gradients():
    layer = ConvNorm(4, 6, kernel_size=3, stride=2, padding=1, groups=2).double()
    for tensor in (layer.norm.weight, layer.norm.bias, layer.norm.running_mean):
        torch.nn.init.normal_(tensor)
    torch.nn.init.uniform_(layer.norm.running_var, 0.5, 2.0)
    layer.eval()
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
