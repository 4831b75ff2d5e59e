from pathlib import Path

import pytest

from gpvit.train.checkpoint import save_checkpoint
from gpvit.train.run_folder import find_start, prepare_folder

SETTINGS = {
    "model": {"name": "gpvit_nano", "drop_path_rate": 0.1},
    "data": {"class": "gpvit.data.Digits", "batch_size": 4, "num_workers": 2},
    "optim": {"lr": 0.1, "betas": (0.9, 0.999)},
    "train": {"epochs": 2, "devices": "auto", "clip": None},
}


def changed(group, **values):
    return {**SETTINGS, group: {**SETTINGS[group], **values}}


@pytest.fixture
def folder(tmp_path):
    prepare_folder(tmp_path / "run", None, SETTINGS)
    save_checkpoint(tmp_path / "run", {})
    return tmp_path / "run"


def test_a_run_is_not_written_over(folder):
    with pytest.raises(ValueError, match="holds a run; name a new run folder, or resume that run by --resume"):
        find_start(folder, False, SETTINGS)


@pytest.mark.parametrize("other", [True, False])
def test_nor_is_one_that_another_run_would_be_continued_in(folder, tmp_path, other):
    prepare_folder(tmp_path / "other", None, SETTINGS)
    save_checkpoint(tmp_path / "other", {})
    with pytest.raises(ValueError, match="holds a run"):
        find_start(folder, tmp_path / ("other" if other else "other/last.ckpt"), SETTINGS)


def test_a_start_that_failed_does_not_block_the_next(tmp_path):
    prepare_folder(tmp_path, None, SETTINGS)
    (tmp_path / "metrics.csv").touch()
    (tmp_path / ".saving-xyz").mkdir()
    (tmp_path / "notes.txt").touch()  # a user's
    assert find_start(tmp_path, False, changed("model", name="gpvit_l1")) is None
    prepare_folder(tmp_path, None, SETTINGS)
    assert not (tmp_path / ".saving-xyz").exists()
    assert (tmp_path / "notes.txt").exists()


@pytest.mark.parametrize("name", ["config.yaml", "metrics.csv", "best.safetensors"])
def test_files_of_others_are_not_written_over(tmp_path, name):
    (tmp_path / name).write_text("model: {}\n")
    with pytest.raises(ValueError, match=f"holds {name}, which gpvit train did not write"):
        find_start(tmp_path, False, SETTINGS)


def test_resuming_from_nothing_is_refused_or_starts(tmp_path, capsys):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*absent\.ckpt"):
        find_start(tmp_path, tmp_path / "absent.ckpt", SETTINGS)
    assert find_start(tmp_path, True, SETTINGS) is None
    assert "starting from the beginning" in capsys.readouterr().out


@pytest.mark.parametrize(
    "settings",
    [
        changed("train", epochs=3, devices=2, nodes=2, accumulate=2),
        changed("data", batch_size=2, num_workers=0),
        changed("optim", betas=[0.9, 0.999]),
    ],
)
def test_length_devices_workers_and_batches_may_change(folder, settings):
    for resume in (True, folder, folder / "last.ckpt"):
        assert find_start(folder, resume, settings) == folder / "last.ckpt"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (changed("model", drop_path_rate=0.2), "model.drop_path_rate: 0.1 there, 0.2 here"),
        (changed("optim", lr=0.5), "optim.lr: 0.1 there, 0.5 here"),
        (changed("train", ema=0.9), "train.ema: None there, 0.9 here"),
        (
            {**SETTINGS, "data": {"class": "gpvit.data.COCO"}},
            "data.class: gpvit.data.Digits there, gpvit.data.COCO here",
        ),
    ],
)
def test_a_run_of_other_settings_is_not_resumed(folder, settings, words):
    with pytest.raises(ValueError, match="holds the run of other settings") as error:
        find_start(folder, True, settings)
    assert words in str(error.value)
    assert find_start(Path(folder.parent / "new"), folder, settings) == folder / "last.ckpt"


def test_a_damaged_config_is_named(folder):
    (folder / "config.yaml").write_text("a: [")
    with pytest.raises(ValueError, match=r"config\.yaml is damaged"):
        find_start(folder, True, SETTINGS)
