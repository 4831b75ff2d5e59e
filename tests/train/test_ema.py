import csv
from pathlib import Path

import pytest
import torch
from tasks.objects import Rectangles
from tasks.patches import Patches
from torch import nn

import gpvit
from gpvit.data import Digits
from gpvit.tasks import ClassificationTask, DetectionTask, SegmentationTask, evaluate_classifier
from gpvit.train import ModelEMA, build_trainer, fit
from gpvit.train.ema import average

FAST = {"accelerator": "cpu", "num_sanity_val_steps": 0}


def train(folder: Path, averaging: ModelEMA | None, resume: Path | None = None, **options):
    torch.manual_seed(0)
    task = ClassificationTask("gpvit_nano", lr=1e-3, warmup_epochs=0)
    trainer = build_trainer(folder, [averaging] if averaging else [], **{**FAST, **options})
    summary = fit(trainer, task, Digits(image_size=32, batch_size=64), resume)
    return task, summary


@pytest.mark.parametrize("decay", [0.0, 0.25, 0.9])
def test_the_average_is_the_textbook_sum(decay):
    averaged, trained = (nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)) for _ in range(2))
    trained(torch.rand(4, 3))  # batch statistics, and one batch that was counted
    before = {name: tensor.clone() for name, tensor in averaged.state_dict().items()}
    average(averaged, trained, decay)
    for name, tensor in averaged.state_dict().items():
        current = trained.state_dict()[name]
        expected = decay * before[name] + (1 - decay) * current if tensor.is_floating_point() else current
        assert torch.allclose(tensor, expected, atol=1e-7), name


def test_averaged_weights_are_scored_and_written_beside_the_others(tmp_path):
    averaging = ModelEMA(decay=0.5)
    task, summary = train(tmp_path, averaging, max_epochs=2, limit_train_batches=3)
    data = Digits(image_size=32, batch_size=64)
    for file, prefix, figures in (
        ("last", "val/", summary["last"]),
        ("ema_last", "val/ema_", summary["last"]),
        ("ema_best", "val/ema_", averaging.best),
    ):
        scores = evaluate_classifier(gpvit.load(tmp_path / f"{file}.safetensors"), data, "cpu")
        assert scores["top1"] == pytest.approx(figures[f"{prefix}top1"], abs=1e-6), file
        assert scores["loss"] == pytest.approx(figures[f"{prefix}loss"], abs=1e-3), file
    raw, averaged = (gpvit.load(tmp_path / f"{name}.safetensors").state_dict() for name in ("last", "ema_last"))
    assert all(torch.equal(tensor, task.network.state_dict()[name]) for name, tensor in raw.items())
    assert all(torch.equal(tensor, averaging.network.state_dict()[name]) for name, tensor in averaged.items())
    assert not torch.equal(raw["head.weight"], averaged["head.weight"])
    with (tmp_path / "metrics.csv").open() as file:
        assert sum(bool(row["val/ema_top1"]) for row in csv.DictReader(file)) == 2


def test_training_does_not_notice(tmp_path):
    alone, _ = train(tmp_path / "alone", None, max_steps=3, limit_val_batches=1)
    beside, _ = train(tmp_path / "beside", ModelEMA(), max_steps=3, limit_val_batches=1)
    others = beside.network.state_dict()
    assert all(torch.equal(tensor, others[name]) for name, tensor in alone.network.state_dict().items())


def test_a_resumed_run_goes_on_with_the_average(tmp_path):
    options = {"limit_train_batches": 2, "limit_val_batches": 1}
    once, again, whole = ModelEMA(0.9), ModelEMA(0.9), ModelEMA(0.9)
    train(tmp_path / "a", once, max_epochs=1, **options)
    train(tmp_path / "b", again, tmp_path / "a/last.ckpt", max_epochs=1, **options)
    assert again.best == once.best
    assert all(torch.equal(p, q) for p, q in zip(once.network.parameters(), again.network.parameters(), strict=True))
    train(tmp_path / "c", whole, max_epochs=1, accumulate_grad_batches=2, **options)  # one step, so one update
    state = torch.load(tmp_path / "c/last.ckpt", weights_only=True)["gpvit_averaged_weights"]
    assert (state["updates"], torch.load(tmp_path / "a/last.ckpt")["gpvit_averaged_weights"]["updates"]) == (1, 2)


@pytest.mark.parametrize(
    ("task", "data", "metric"),
    [
        (SegmentationTask("segformer_gpvit_nano", warmup_steps=0), Patches(), "val/ema_miou"),
        (DetectionTask("mask_rcnn_gpvit_nano", {"min_size": 64}), Rectangles(), "val/ema_mask_ap"),
    ],
)
def test_segmenters_and_detectors_are_averaged_too(tmp_path, task, data, metric):
    summary = fit(build_trainer(tmp_path, [ModelEMA()], max_epochs=1, **FAST), task, data)
    assert metric in summary["last"]
    assert (tmp_path / "ema_best.safetensors").is_file()


@pytest.mark.parametrize("decay", [0, 1, -0.5, 2])
def test_a_decay_that_is_no_share_is_refused(decay):
    with pytest.raises(ValueError, match="give a share between 0 and 1"):
        ModelEMA(decay)
