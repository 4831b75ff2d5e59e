import math

import pytest
import torch
from torch import nn

from gpvit.tasks import ClassificationTask, DetectionTask, OptimConfig, SegmentationTask
from gpvit.tasks.optim import create_optimizer, lr_factor


class Network(nn.Linear):
    head_names = ("none",)

    def no_weight_decay(self) -> set[str]:
        return set()


@pytest.mark.parametrize(
    ("images", "base", "rate"), [(2048, 2048, 2e-3), (1024, 2048, 1e-3), (6144, 2048, 6e-3), (1, None, 2e-3)]
)
def test_the_images_of_a_step_scale_the_rate_and_that_is_printed(images, base, rate, capsys):
    config = OptimConfig(lr=2e-3, base_batch_size=base)
    optimizer, _ = create_optimizer(Network(2, 2), config, total_steps=9, epoch_steps=1, images_per_step=images)
    assert [group["initial_lr"] for group in optimizer.param_groups] == pytest.approx([rate, rate])  # weight and bias
    line = f"learning rate {rate:.3g} for {images} images a step, from 0.002 for 2048\n"
    assert capsys.readouterr().out == (line if rate != 2e-3 else "")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"base_batch_size": 0}, "base_batch_size 0: give the images of a step"),
        ({"no_decay": "bias"}, "no_decay 'bias': choose one of norms_and_biases, backbone_norms_and_biases"),
        ({"schedule": "step"}, "schedule 'step': choose one of cosine, poly, multistep"),
        ({"warmup_steps": 9, "warmup_epochs": 1.0}, "warmup_steps 9 and warmup_epochs 1.0: set one of them to null"),
        ({"warmup_steps": 9, "warmup": 0.1}, "warmup 0.1 and warmup_steps 9: set one of them to null"),
        ({"warmup": 1.0}, "warmup 1.0: give a share of the run, 0 to below 1"),
        ({"optimizer": "sgd"}, "optimizer 'sgd': choose one of adamw, muon"),
    ],
)
def test_what_there_is_not_is_refused_at_once(setting, message):
    with pytest.raises(ValueError, match=message):
        OptimConfig(lr=0.1, **setting)


@pytest.mark.parametrize(
    ("settings", "steps", "expected"),
    [
        ({"schedule": "cosine", "min_lr_ratio": 0.2}, 4, [1, 0.6 + 0.4 * math.sqrt(0.5), 0.6]),
        ({"schedule": "poly"}, 4, [1, 0.75, 0.5, 0.25, 0]),
        ({"schedule": "poly", "power": 2.0, "min_lr_ratio": 0.5}, 2, [1, 0.625, 0.5]),
        ({"schedule": "poly", "warmup_steps": 1, "warmup_ratio": 0.5}, 4, [0.5, 0.75, 0.5]),
        ({"schedule": "multistep", "milestones": (2, 3)}, 9, [1, 1, 1, 1, 0.1, 0.1, 0.01]),  # two steps an epoch
        ({"schedule": "multistep"}, 3, [1, 1, 1]),
        ({"schedule": "poly", "warmup": 0.25, "warmup_ratio": 0.5}, 4, [0.5, 0.75, 0.5]),
        ({"schedule": "multistep", "warmup_epochs": 1.0, "warmup_ratio": 0.5}, 9, [0.5, 0.75, 1]),
    ],
)
def test_the_rates_follow_the_schedule(settings, steps, expected):
    factor = lr_factor(OptimConfig(lr=0.1, **settings), total_steps=steps, epoch_steps=2)
    assert [factor(step) for step in range(len(expected))] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"warmup_steps": 100}, r"the warm-up of 100 steps is not shorter than the run of 10.*optim\.warmup_steps"),
        ({"warmup_epochs": 5.0}, "the warm-up of 10 steps is not shorter than the run of 10"),
        (
            {"schedule": "multistep", "milestones": (4, 11)},
            r"the run ends before its learning rate falls after the epochs \[4, 11\]",
        ),
    ],
)
def test_a_run_that_is_too_short_for_its_schedule_is_warned_of(settings, message):
    with pytest.warns(UserWarning, match=message):
        factor = lr_factor(OptimConfig(lr=0.1, **settings), total_steps=10, epoch_steps=2)
    assert max(map(factor, range(10))) > 0.9  # the rate is reached all the same


def test_the_schedule_moves_every_step_and_continues_from_its_state():
    config = OptimConfig(lr=0.1, schedule="poly", weight_decay=0.0)
    sizes = {"total_steps": 4, "epoch_steps": 2, "images_per_step": 1}
    optimizer, scheduler = create_optimizer(Network(2, 2), config, **sizes)
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([0.1, 0.075, 0.05, 0.025])
    again, resumed = create_optimizer(Network(2, 2), config, **sizes)
    again.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(scheduler.state_dict())
    assert resumed.get_last_lr() == [0.0]
    assert type(again) is torch.optim.AdamW


def test_the_defaults_are_those_of_the_released_training():
    assert [task.default_optim for task in (ClassificationTask, SegmentationTask, DetectionTask)] == [
        OptimConfig(lr=2e-3, weight_decay=0.05, schedule="cosine", warmup_epochs=15, min_lr_ratio=0.01),
        OptimConfig(
            lr=1.2e-4,
            weight_decay=0.01,
            no_decay="layer_norms",
            schedule="poly",
            warmup_steps=1500,
            warmup_ratio=1e-6,
        ),
        OptimConfig(
            lr=2e-4,
            weight_decay=0.05,
            no_decay="biases_and_layer_norms",
            schedule="multistep",
            milestones=(8, 11),
            warmup_steps=500,
        ),
    ]


def factors(schedule: str, total_steps: int, epoch_steps: int = 1, **settings) -> list[float]:
    """The factor of the peak rate at every step, and at the end."""
    factor = lr_factor(OptimConfig(lr=1.0, schedule=schedule, **settings), total_steps, epoch_steps)
    return [factor(step) for step in range(total_steps + 1)]


def test_the_released_schedule_of_classification():
    epoch = 626  # ImageNet's 1,281,167 images, 2048 at a time, rounded up
    factor = factors("cosine", 300 * epoch, epoch, warmup_epochs=15, min_lr_ratio=0.01)
    assert factor[0] == pytest.approx(1e-3)
    assert factor[150 * epoch] == pytest.approx(0.505)  # halfway between 1 and 0.01
    assert factor[-1] == pytest.approx(1e-2)
    assert factor.index(max(factor)) == 15 * epoch
    half_warm = 7.5 / 300
    cosine = 0.01 + 0.99 * (1 + math.cos(math.pi * half_warm)) / 2
    assert factor[int(7.5 * epoch)] == pytest.approx(cosine * 0.5005)


@pytest.mark.parametrize("warmup_steps", [0, 1, 7])
def test_after_the_warmup_it_is_the_cosine_of_torch(warmup_steps):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=40, eta_min=2.0 * 0.05)
    for step, ours in enumerate(factors("cosine", 40, warmup_steps=warmup_steps, min_lr_ratio=0.05)):
        if step >= warmup_steps:
            assert 2.0 * ours == pytest.approx(reference.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        reference.step()


@pytest.mark.parametrize("schedule", ["cosine", "poly"])
def test_steps_after_the_end_stay_at_the_minimum(schedule):
    factor = lr_factor(OptimConfig(lr=1.0, schedule=schedule, min_lr_ratio=0.25), 100, 1)
    assert factor(1000) == pytest.approx(0.25)


def mmcv_poly(step, total, warmup, ratio, power, least, peak):
    """The rate that mmcv's poly policy with linear warm-up sets before a step, as its documentation says it."""
    regular = (peak - least) * (1 - step / total) ** power + least
    return regular * (1 - (1 - step / warmup) * (1 - ratio)) if step < warmup else regular


@pytest.mark.parametrize(("power", "least"), [(1.0, 0.0), (0.9, 1e-5), (2.0, 0.0)])
@pytest.mark.parametrize("step", [0, 1, 749, 1499, 1500, 80_000, 159_999, 160_000])
def test_the_poly_schedule_is_mmcvs(step, power, least):
    expected = mmcv_poly(step, 160_000, 1500, 1e-6, power, least, 1.2e-4)
    released = {"warmup_steps": 1500, "warmup_ratio": 1e-6, "power": power, "min_lr_ratio": least / 1.2e-4}
    ours = 1.2e-4 * lr_factor(OptimConfig(lr=1.2e-4, schedule="poly", **released), 160_000, 1)(step)
    assert ours == pytest.approx(expected, rel=1e-9, abs=1e-18)


@pytest.mark.parametrize(("epochs", "milestones"), [(12, (8, 11)), (36, (27, 33))])
def test_the_released_schedules_of_detection(epochs, milestones):
    epoch = 3665  # 117,266 images of COCO with objects, 32 at a time, rounded up
    factor = factors("multistep", epochs * epoch, epoch, milestones=milestones, warmup_steps=500)
    assert factor[0] == pytest.approx(1e-3)
    assert factor[250] == pytest.approx((1 + 1e-3) / 2)  # halfway
    assert set(factor[500 : milestones[0] * epoch]) == {1.0}
    assert {round(each, 9) for each in factor[milestones[0] * epoch : milestones[1] * epoch]} == {0.1}
    assert {round(each, 9) for each in factor[milestones[1] * epoch :]} == {0.01}


@pytest.mark.parametrize("milestones", [(), (5,), (11, 4), (3, 3, 20)])
def test_without_warmup_milestones_are_those_of_torch(milestones):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    reference = torch.optim.lr_scheduler.MultiStepLR(optimizer, list(milestones), gamma=0.1)
    for ours in factors("multistep", 25, milestones=milestones):
        assert 2.0 * ours == pytest.approx(reference.get_last_lr()[0])
        optimizer.step()
        reference.step()
