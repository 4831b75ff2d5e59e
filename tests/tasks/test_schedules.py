import math

import pytest
import torch

from gpvit.tasks.schedules import warmup_cosine


def test_released_schedule_at_given_steps():
    epoch = 626  # ImageNet's 1,281,167 images, 2048 at a time, rounded up
    factor = [warmup_cosine(step, 300 * epoch, 15 * epoch, 1e-3, 1e-2) for step in range(300 * epoch + 1)]
    assert factor[0] == pytest.approx(1e-3)
    assert factor[150 * epoch] == pytest.approx(0.505)  # halfway between 1 and 0.01
    assert factor[-1] == pytest.approx(1e-2)
    assert factor.index(max(factor)) == 15 * epoch
    half_warm = 7.5 / 300
    cosine = 0.01 + 0.99 * (1 + math.cos(math.pi * half_warm)) / 2
    assert factor[int(7.5 * epoch)] == pytest.approx(cosine * 0.5005)


@pytest.mark.parametrize("warmup_steps", [0, 1, 7])
def test_without_warmup_it_is_the_cosine_of_torch(warmup_steps):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=2.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=40, eta_min=2.0 * 0.05)
    for step in range(41):
        if step >= warmup_steps:
            ours = warmup_cosine(step, 40, warmup_steps, min_lr_ratio=0.05)
            assert 2.0 * ours == pytest.approx(reference.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        reference.step()


def test_steps_after_the_end_stay_at_the_minimum():
    assert warmup_cosine(1000, 100, min_lr_ratio=0.25) == pytest.approx(0.25)
