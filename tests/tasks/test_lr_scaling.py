from types import SimpleNamespace

import pytest
from tasks.objects import Rectangles
from tasks.patches import Patches

from gpvit.data import Digits
from gpvit.tasks import ClassificationTask, DetectionTask, SegmentationTask
from gpvit.tasks.lr_scaling import images_per_step, peak_lr
from gpvit.train import build_trainer


def trainer_of(batch_size: int, devices: int, accumulate: int) -> SimpleNamespace:
    data = SimpleNamespace(batch_size=batch_size)
    return SimpleNamespace(datamodule=data, world_size=devices, accumulate_grad_batches=accumulate)


@pytest.mark.parametrize(("batch_size", "devices", "accumulate"), [(128, 16, 1), (64, 2, 16), (2048, 1, 1)])
def test_as_many_images_as_the_rate_is_for_leave_it_as_it_is(batch_size, devices, accumulate, capsys):
    trainer = trainer_of(batch_size, devices, accumulate)
    assert images_per_step(trainer) == 2048
    assert peak_lr(trainer, 2e-3, 2048) == 2e-3
    assert not capsys.readouterr().out


def test_other_numbers_scale_it_and_say_so(capsys):
    assert peak_lr(trainer_of(128, 8, 1), 2e-3, 2048) == pytest.approx(1e-3)
    assert capsys.readouterr().out == "learning rate 0.001 for 1024 images a step, from 0.002 for 2048\n"
    assert peak_lr(trainer_of(128, 16, 3), 2e-3, 2048) == pytest.approx(6e-3)


def test_without_a_rule_the_rate_is_what_was_written(capsys):
    assert peak_lr(trainer_of(1, 1, 1), 2e-3, None) == 2e-3
    assert not capsys.readouterr().out


TASKS = {
    "classification": (ClassificationTask, "gpvit_nano", {}, lambda: Digits(image_size=32, batch_size=4)),
    "segmentation": (SegmentationTask, "segformer_gpvit_nano", {"head_lr_scale": 10.0}, Patches),
    "detection": (
        DetectionTask,
        "retinanet_gpvit_nano",
        {"model_kwargs": {"min_size": 64, "channels": 16}, "milestones": None},
        lambda: Rectangles(masks=False),
    ),
}


@pytest.mark.parametrize("task", TASKS)
def test_every_task_scales_its_rate_and_keeps_the_ratios(task, tmp_path, capsys):
    kind, name, options, data = TASKS[task]
    model = kind(name, lr=0.2, base_batch_size=4 * data().batch_size, **options)
    settings = {"max_epochs": 1, "limit_train_batches": 2, "limit_val_batches": 0, "accumulate_grad_batches": 2}
    trainer = build_trainer(tmp_path, accelerator="cpu", logger=False, enable_progress_bar=False, **settings)
    trainer.fit(model, datamodule=data())
    rates = {group["initial_lr"] for group in trainer.optimizers[0].param_groups}
    assert max(rates) / options.get("head_lr_scale", 1.0) == pytest.approx(0.1)
    assert len(rates) == 1 + ("head_lr_scale" in options)
    assert capsys.readouterr().out.count("learning rate 0.1 for") == 1


@pytest.mark.parametrize("task", TASKS)
def test_a_number_of_images_that_is_none_is_refused_at_once(task):
    kind, name, options, _ = TASKS[task]
    with pytest.raises(ValueError, match="base_batch_size 0: give the images of a step"):
        kind(name, base_batch_size=0, **options)
