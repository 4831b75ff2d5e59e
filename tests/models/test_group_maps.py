import torch
from contract.subjects import build, images
from torch.utils.flop_counter import FlopCounterMode

from gpvit.layers.group_propagation import GroupPropagationBlock


def test_group_maps():
    model, x = build("gpvit_nano").eval(), images(2, 57, 91)
    hooks_before = sum(len(m._forward_hooks) for m in model.modules())
    maps = model.group_maps(x)
    assert sum(len(m._forward_hooks) for m in model.modules()) == hooks_before
    assert list(maps) == [1, 4, 7, 10]
    for both in maps.values():
        for attention in both:
            assert attention.shape == (2, 2, 16, 8, 12)
            assert not attention.requires_grad
        torch.testing.assert_close(both.ungrouping.sum(2), torch.ones(2, 2, 8, 12))
        torch.testing.assert_close(both.grouping.sum((-2, -1)), torch.ones(2, 2, 16))


def test_group_propagation_is_linear_in_the_number_of_tokens():
    block = GroupPropagationBlock(48, 16)

    def flops(height: int) -> int:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            block(torch.randn(1, height, 32, 48))
        return counter.get_total_flops()

    one, two, four = flops(16), flops(32), flops(64)
    assert four - two == 2 * (two - one)  # a constant for the groups, and a share for each token
    assert two > 1.8 * one
