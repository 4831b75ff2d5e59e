import pytest
import torch
from torch import nn

from gpvit.train.ema import ModelEMA


@pytest.mark.parametrize("decay", [0.05, 0.9])
def test_the_average_is_the_textbook_sum(decay):
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    ema = ModelEMA(network, decay)
    expected = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for step in range(1, 4):
        network(torch.rand(4, 3))  # batch statistics, and one batch that was counted
        with torch.no_grad():
            network[0].weight += 1
        ema.update()
        kept = min(decay, (1 + step) / (10 + step))
        for name, tensor in network.state_dict().items():
            moved = kept * expected[name] + (1 - kept) * tensor
            expected[name] = moved if tensor.is_floating_point() else tensor.clone()
    for name, tensor in ema.average.items():
        assert torch.allclose(tensor, expected[name], atol=1e-6), name


def test_the_network_holds_the_average_for_a_while():
    network = nn.Linear(3, 2)
    ema = ModelEMA(network, 0.5)
    with torch.no_grad():
        network.weight += 1
    trained = network.weight.clone()
    with ema.in_network():
        assert torch.allclose(network.weight, trained - 1)
    assert torch.equal(network.weight, trained)
