import errno
import os
from pathlib import Path

import pytest
import torch
from tasks.runs import Stopped, content, differences, metrics, run

BY_STEPS = {"max_epochs": -1, "max_steps": 7, "val_check_interval": 3, "check_val_every_n_epoch": None}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Runs that nothing stopped, with what their summary says."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("epochs", "steps")}
    return {name: (folder, run(folder, **(BY_STEPS if name == "steps" else {}))) for name, folder in folders.items()}


def assert_same(reference, folder, summary):
    other, expected = reference
    assert differences(other, folder) == []
    assert metrics(folder) == metrics(other)
    for name in ("best", "last"):
        assert summary[name] == expected[name]
        saved = (folder / f"{name}.safetensors", other / f"{name}.safetensors")
        assert saved[0].read_bytes() == saved[1].read_bytes()


@pytest.mark.parametrize(
    ("kind", "stop", "workers"),
    [
        ("epochs", 1, 0),  # before the first checkpoint
        ("epochs", 4, 0),  # between two optimiser steps that were accumulated, after a checkpoint
        ("epochs", 5, 2),  # between an optimiser step and its checkpoint
        ("epochs", 7, 0),  # the last batch, before the validation
        ("epochs", 8, 2),  # in the next epoch, after a checkpoint at the end of one
        ("steps", 4, 0),  # after a validation within an epoch
        ("steps", 9, 0),  # in the second epoch of a run by steps, before a validation
    ],
)
def test_a_stopped_run_ends_as_if_it_had_not_been_stopped(whole, tmp_path, kind, stop, workers):
    options = BY_STEPS if kind == "steps" else {}
    with pytest.raises(Stopped):
        run(tmp_path, stop=stop, **options)
    summary = run(tmp_path, resume=True, workers=workers, **options)
    assert_same(whole[kind], tmp_path, summary)


def test_a_run_stopped_again_and_again_ends_alike(whole, tmp_path):
    for stop in (2, 3, 6, 8, 10):
        with pytest.raises(Stopped):
            run(tmp_path, resume=True, stop=stop)
    assert_same(whole["epochs"], tmp_path, run(tmp_path, resume=True))


def test_each_step_draws_anew(whole):
    """Were every step seeded alike, runs would be equal, too."""
    folder, _ = whole["epochs"]
    losses = [row["loss"] for row in metrics(folder) if "loss" in row]
    assert len(set(losses)) == len(losses) > 4


def test_a_new_folder_takes_the_best_weights_along_and_leaves_the_run_as_it_is(whole, tmp_path):
    folder, before = whole["epochs"]
    untouched = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    summary = run(tmp_path / "new", resume=folder, max_epochs=3)
    assert summary["last"]["epoch"] == 3
    assert summary["best"]["val/top1"] >= before["best"]["val/top1"]
    assert (tmp_path / "new/best.safetensors").is_file()
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == untouched
    assert {int(row["epoch"]) for row in metrics(tmp_path / "new")} == {2}


def test_a_torn_checkpoint_is_told_and_the_one_before_taken(whole, tmp_path, capfd):
    with pytest.raises(Stopped):
        run(tmp_path, stop=9)
    last = tmp_path / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-1000])
    summary = run(tmp_path, resume=True)
    assert "last.ckpt is damaged" in (told := capfd.readouterr().err)
    assert "previous.ckpt, the checkpoint before" in told
    assert_same(whole["epochs"], tmp_path, summary)


def test_another_seed_of_the_process_changes_nothing(whole, tmp_path):
    with pytest.raises(Stopped):
        run(tmp_path, stop=5)
    torch.manual_seed(99)  # what a library user's process draws from
    assert content(tmp_path)[".callbacks.StepSeeds.seed"] == 0
    assert_same(whole["epochs"], tmp_path, run(tmp_path, resume=True))


def test_an_interval_must_be_a_step_or_more(tmp_path):
    with pytest.raises(ValueError, match="checkpoint_every 0"):
        run(tmp_path, checkpoint_every=0)


def test_weights_that_find_no_room_leave_the_run_whole(tmp_path, monkeypatch):
    with pytest.raises(Stopped):
        run(tmp_path, stop=9)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.safetensors")}

    def full(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"last\.safetensors could not be written.* bytes, .* free.*: last\.ckpt"):
        run(tmp_path, resume=True)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.safetensors")} == before
    assert not list(tmp_path.glob(".saving-*"))
