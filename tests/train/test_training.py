import csv
import json
import warnings
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from tasks.patches import Patches

import gpvit
from gpvit.data import Digits
from gpvit.tasks import ClassificationTask, SegmentationTask, evaluate_classifier, evaluate_segmenter
from gpvit.train import build_trainer, fit

FAST = {"accelerator": "cpu", "limit_train_batches": 2, "limit_val_batches": 2, "num_sanity_val_steps": 0}


def task() -> ClassificationTask:
    torch.manual_seed(0)
    return ClassificationTask("gpvit_nano", mixup_alpha=0.0, cutmix_alpha=0.0, warmup_epochs=0)


def digits(batch_size: int = 8) -> Digits:
    return Digits(image_size=32, batch_size=batch_size)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("run")
    return folder, fit(build_trainer(folder, max_epochs=2, **FAST), task(), digits())


def test_the_run_folder_holds_logs_weights_and_results(finished):
    folder, summary = finished
    names = {path.name for path in folder.iterdir()}
    assert {"best.safetensors", "last.safetensors", "last.ckpt", "metrics.csv", "metrics.json"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert json.loads((folder / "metrics.json").read_text()) == summary
    assert summary["last"]["epoch"] == 2
    with (folder / "metrics.csv").open() as file:
        scores = [float(row["val/top1"]) for row in csv.DictReader(file) if row["val/top1"]]
    assert len(scores) == 2
    assert summary["best"]["val/top1"] == pytest.approx(max(scores), abs=1e-6)
    assert summary["best"]["epoch"] == 1 + scores.index(max(scores))


def test_the_weights_say_all_that_is_needed_to_use_them(finished):
    folder, _ = finished
    model = gpvit.load(folder / "last.safetensors")
    assert model.pretrained_cfg["label_names"] == [str(i) for i in range(10)]
    assert tuple(model.pretrained_cfg["input_size"]) == (1, 32, 32)
    state = torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(tensor, state[f"network.{name}"]) for name, tensor in model.state_dict().items())


def test_the_recorded_score_is_that_of_the_written_weights(tmp_path):
    data = digits(batch_size=64)
    options = {**FAST, "limit_val_batches": 1.0}
    summary = fit(build_trainer(tmp_path, max_epochs=1, **options), task(), data)
    scores = evaluate_classifier(gpvit.load(tmp_path / "best.safetensors"), data, "cpu")
    assert scores["images"] == 500
    assert scores["top1"] == pytest.approx(summary["best"]["val/top1"], abs=1e-6)
    assert scores["loss"] == pytest.approx(summary["best"]["val/loss"], abs=1e-4)


def test_a_resumed_run_goes_on_where_the_first_ended(tmp_path, finished):
    folder, before = finished
    summary = fit(build_trainer(tmp_path, max_epochs=3, **FAST), task(), digits(), folder / "last.ckpt")
    assert summary["last"]["epoch"] == 3
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 6
    assert summary["best"]["val/top1"] >= before["best"]["val/top1"]
    assert (tmp_path / "best.safetensors").is_file()  # the first run's, where the score did not improve


def test_averaged_weights_are_what_is_scored_and_saved(tmp_path):
    data = digits(batch_size=64)
    options = {**FAST, "limit_val_batches": 1.0, "max_epochs": 1}
    averaging = EMAWeightAveraging(decay=0.5)
    trained = task()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        trainer = build_trainer(tmp_path, [averaging], **options)
        summary = fit(trainer, trained, data)
    saved = gpvit.load(tmp_path / "best.safetensors")
    current = torch.load(tmp_path / "last.ckpt", weights_only=True)["current_model_state"]
    assert not torch.equal(saved.head.weight, current["network.head.weight"])
    scores = evaluate_classifier(saved, data, "cpu")
    assert scores["loss"] == pytest.approx(summary["best"]["val/loss"], abs=1e-4)


def test_a_used_folder_is_refused(finished):
    with pytest.raises(ValueError, match="is not empty; name a new run folder"):
        build_trainer(finished[0])


def test_resuming_from_nothing_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*absent\.ckpt"):
        fit(build_trainer(tmp_path, max_epochs=1, **FAST), task(), digits(), tmp_path / "absent.ckpt")


def test_without_a_terminal_there_is_one_line_per_epoch(tmp_path, capfd):
    fit(build_trainer(tmp_path, max_epochs=2, **FAST), task(), digits())
    lines = [line for stream in capfd.readouterr() for line in stream.splitlines()]
    assert len(lines) == 3
    assert "M parameters on cpu" in lines[0]
    assert all(f"epoch {i}/2  train/loss" in lines[i] and "val/top1" in lines[i] for i in (1, 2))


@pytest.fixture(scope="module")
def finished_by_steps(tmp_path_factory) -> tuple[Path, dict]:
    """Two steps an epoch, seven in all, validated after the third and the sixth."""
    folder = tmp_path_factory.mktemp("steps")
    options = {"max_steps": 7, "val_check_interval": 3, "check_val_every_n_epoch": None, "limit_val_batches": 1.0}
    return folder, fit(build_trainer(folder, **{**FAST, **options}), task(), digits(batch_size=64))


def test_where_steps_are_counted_each_validation_is_of_the_weights_that_it_is_written_with(finished_by_steps):
    folder, summary = finished_by_steps
    best = summary["best"]
    assert best["step"] in (3, 6)
    scores = evaluate_classifier(gpvit.load(folder / "best.safetensors"), digits(batch_size=64), "cpu")
    assert (scores["top1"], scores["loss"]) == pytest.approx((best["val/top1"], best["val/loss"]), abs=1e-4)
    with (folder / "metrics.csv").open() as file:
        assert [int(row["step"]) for row in csv.DictReader(file) if row["val/top1"]] == [2, 5]  # counted from 0


def test_where_steps_are_counted_the_last_ones_are_kept(finished_by_steps):
    folder, summary = finished_by_steps
    assert summary["last"].keys() == {"step", "train/loss"}  # these weights were not validated
    assert summary["last"]["step"] == 7
    checkpoint = torch.load(folder / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 7
    weights = gpvit.load(folder / "last.safetensors").state_dict()
    assert all(torch.equal(tensor, checkpoint["state_dict"][f"network.{name}"]) for name, tensor in weights.items())


def test_a_run_by_steps_goes_on_where_it_ended(finished_by_steps, tmp_path):
    folder, before = finished_by_steps
    options = {"max_steps": 10, "val_check_interval": 3, "check_val_every_n_epoch": None}
    summary = fit(build_trainer(tmp_path, **{**FAST, **options}), task(), digits(), folder / "last.ckpt")
    assert summary["last"]["step"] == 10
    assert summary["best"]["val/top1"] >= before["best"]["val/top1"]


def test_lines_between_epochs_tell_the_step(tmp_path, capfd):
    options = {"max_steps": 3, "val_check_interval": 3, "check_val_every_n_epoch": None}
    fit(build_trainer(tmp_path, **{**FAST, **options}), task(), digits())
    lines = [line for stream in capfd.readouterr() for line in stream.splitlines()]
    assert [line.split()[1] for line in lines[1:]] == ["2/3", "3/3"]  # an epoch, and one that a validation ends
    assert ["val/top1" in line for line in lines[1:]] == [False, True]


def test_an_epoch_without_validation_has_no_score(tmp_path):
    summary = fit(build_trainer(tmp_path, max_epochs=3, check_val_every_n_epoch=2, **FAST), task(), digits())
    assert (summary["best"]["step"], summary["last"]["step"]) == (4, 6)
    assert "val/top1" not in summary["last"]


def test_a_segmenter_is_written_with_its_colours_and_scored_alike(tmp_path):
    torch.manual_seed(0)
    data = Patches()
    trained = SegmentationTask("segformer_gpvit_nano", warmup_steps=0)
    options = {"max_steps": 2, "val_check_interval": 2, "check_val_every_n_epoch": None, "limit_val_batches": 1.0}
    summary = fit(build_trainer(tmp_path, **{**FAST, **options}), trained, data)
    model = gpvit.load(tmp_path / "best.safetensors")
    assert model.pretrained_cfg["label_names"] == list(data.class_names)
    assert model.pretrained_cfg["label_colors"] == [list(color) for color in data.colors]
    assert model.pretrained_cfg["max_size"] is None
    scores = evaluate_segmenter(model, data, device="cpu")
    for name in ("miou", "macc", "aacc"):
        assert scores[name] == pytest.approx(summary["best"][f"val/{name}"], abs=1e-6)


def test_data_report_what_they_hold_before_training(tmp_path):
    data = Patches()
    fit(build_trainer(tmp_path, max_epochs=1, **FAST), SegmentationTask("segformer_gpvit_nano", warmup_steps=0), data)
    assert "class 2" in (tmp_path / "labels.csv").read_text()
    assert (tmp_path / "data.png").is_file()
