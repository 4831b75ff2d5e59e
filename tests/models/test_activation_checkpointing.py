import pytest
import torch
from torch import nn

from gpvit.models.activation_checkpointing import recompute


@pytest.mark.parametrize("momentum", [0.1, None])
def test_the_second_run_leaves_batch_statistics_alone(momentum):
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=momentum), nn.ReLU())
    twin = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=momentum), nn.ReLU())
    twin.load_state_dict(plain.state_dict())
    for _ in range(3):
        x = torch.randn(2, 3, 8, 8)
        plain(x).square().sum().backward()
        recompute(twin, x).square().sum().backward()
    for a, b in zip(plain.state_dict().values(), twin.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(plain.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    assert twin[1].momentum == momentum
    assert twin[1].num_batches_tracked == 3


def test_statistics_come_back_after_an_error():
    block = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1))
    y = recompute(block, torch.randn(2, 3, 4, 4, requires_grad=True))
    block[1].forward = None  # the second run fails
    with pytest.raises(TypeError):
        y.sum().backward()
    assert block[0].momentum == 0.1
    assert block[0].num_batches_tracked == 1
