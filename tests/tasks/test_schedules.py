import math

import pytest
import torch

from gpvit.tasks.optim import warmup_cosine, warmup_multistep, warmup_poly


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


def mmcv_poly(step, total, warmup, ratio, power, least, peak):
    """The rate that mmcv's poly policy with linear warm-up sets before a step, as its documentation says it."""
    regular = (peak - least) * (1 - step / total) ** power + least
    return regular * (1 - (1 - step / warmup) * (1 - ratio)) if step < warmup else regular


@pytest.mark.parametrize(("power", "least"), [(1.0, 0.0), (0.9, 1e-5), (2.0, 0.0)])
@pytest.mark.parametrize("step", [0, 1, 749, 1499, 1500, 80_000, 159_999, 160_000])
def test_the_poly_schedule_is_mmcvs(step, power, least):
    expected = mmcv_poly(step, 160_000, 1500, 1e-6, power, least, 1.2e-4)
    ours = 1.2e-4 * warmup_poly(step, 160_000, 1500, 1e-6, power, least / 1.2e-4)
    assert ours == pytest.approx(expected, rel=1e-9, abs=1e-18)


def test_the_poly_schedule_at_given_steps():
    factor = [warmup_poly(step, 160_000, 1500) for step in range(160_001)]
    assert factor[0] == pytest.approx(1e-6)
    assert factor.index(max(factor)) == 1500
    assert factor[80_000] == pytest.approx(0.5)
    assert factor[160_000] == 0
    assert warmup_poly(200_000, 160_000, min_lr_ratio=0.1) == pytest.approx(0.1)


@pytest.mark.parametrize(("epochs", "milestones"), [(12, (8, 11)), (36, (27, 33))])
def test_the_released_schedules_of_detection(epochs, milestones):
    epoch = 3665  # 117,266 images of COCO with objects, 32 at a time, rounded up
    factor = [
        warmup_multistep(step, [each * epoch for each in milestones], 500, 1e-3) for step in range(epochs * epoch)
    ]
    assert factor[0] == pytest.approx(1e-3)
    assert factor[250] == pytest.approx((1 + 1e-3) / 2)  # halfway
    assert set(factor[500 : milestones[0] * epoch]) == {1.0}
    assert {round(each, 9) for each in factor[milestones[0] * epoch : milestones[1] * epoch]} == {0.1}
    assert {round(each, 9) for each in factor[milestones[1] * epoch :]} == {0.01}


@pytest.mark.parametrize("milestones", [[], [5], [11, 4], [3, 3, 20]])
def test_without_warmup_milestones_are_those_of_torch(milestones):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    reference = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma=0.3)
    for step in range(25):
        assert 2.0 * warmup_multistep(step, milestones, gamma=0.3) == pytest.approx(reference.get_last_lr()[0])
        optimizer.step()
        reference.step()
