import errno
import os
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest
import torch
from train.runs import Stopped, run, stop_after

from gpvit.train import checkpoint
from gpvit.train.checkpoint import find_checkpoint, find_start, prepare_folder, save_checkpoint

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
    save_checkpoint(tmp_path / "run", {"step": 1})
    return tmp_path / "run"


def test_a_run_is_not_written_over(folder):
    with pytest.raises(ValueError, match="holds a run; name a new run folder, or resume that run by --resume"):
        find_start(folder, False, SETTINGS)


@pytest.mark.parametrize("other", [True, False])
def test_nor_is_one_that_another_run_would_be_continued_in(folder, tmp_path, other):
    prepare_folder(tmp_path / "other", None, SETTINGS)
    save_checkpoint(tmp_path / "other", {"step": 1})
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


def write(folder, step):
    save_checkpoint(folder, {"step": step, "weights": torch.full((1000,), step)})


def step(path):
    return torch.load(path, weights_only=True)["step"]


def test_the_last_two_are_kept(tmp_path):
    for number in range(3):
        write(tmp_path, number)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.ckpt", "previous.ckpt"]
    assert step(find_checkpoint(tmp_path)) == 2
    assert step(tmp_path / "previous.ckpt") == 1


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.99])
def test_instead_of_a_file_torn_anywhere_the_other_is_used(tmp_path, capsys, part):
    write(tmp_path, 1)
    write(tmp_path, 2)
    content = (tmp_path / "last.ckpt").read_bytes()
    (tmp_path / "last.ckpt").write_bytes(content[: int(part * len(content))])
    for place in (tmp_path, tmp_path / "last.ckpt"):
        assert step(find_checkpoint(place)) == 1
        assert "last.ckpt is damaged" in capsys.readouterr().err


def test_a_single_wrong_byte_of_a_tensor_is_noticed(tmp_path):
    write(tmp_path, 1)
    path = tmp_path / "last.ckpt"
    content = bytearray(path.read_bytes())
    place = content.index(torch.full((1000,), 1).numpy().tobytes()) + 500
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"last\.ckpt is damaged \(the checksum of .*no whole checkpoint is left"):
        find_checkpoint(tmp_path)


def test_damage_that_is_an_error_without_words_is_noticed(tmp_path, monkeypatch):
    def ends(_):
        raise EOFError

    write(tmp_path, 1)
    monkeypatch.setattr(zipfile.ZipFile, "testzip", ends)
    with pytest.raises(ValueError, match=r"last\.ckpt is damaged \(EOFError\)"):
        find_checkpoint(tmp_path)


def test_after_a_power_cut_between_two_renames_a_whole_one_is_found(tmp_path):
    write(tmp_path, 1)
    os.replace(tmp_path / "last.ckpt", tmp_path / "previous.ckpt")
    for place in (tmp_path, tmp_path / "last.ckpt"):
        assert step(find_checkpoint(place)) == 1


def test_there_may_be_none(tmp_path):
    assert find_checkpoint(tmp_path) is None
    assert find_checkpoint(tmp_path / "absent.ckpt") is None


@pytest.mark.slow  # imports torch in a process of its own
def test_a_full_disk_leaves_the_earlier_ones_whole(tmp_path):
    """Files of the process may not grow beyond a limit, which fails as a full disk does, in the middle of writing."""
    write(tmp_path, 1)
    write(tmp_path, 2)
    script = """
        import resource, signal, sys, torch
        from pathlib import Path
        from gpvit.train.checkpoint import save_checkpoint
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        try:
            save_checkpoint(Path(sys.argv[1]), {"step": 1, "weights": torch.zeros(100_000)})
        except OSError as error:
            print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "last.ckpt could not be written" in said
    assert f"bytes, {tmp_path} has" in said
    assert "whole are: last.ckpt and previous.ckpt" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.ckpt", "previous.ckpt"]
    assert step(find_checkpoint(tmp_path)) == 2


def test_weights_that_find_no_room_leave_the_run_whole(tmp_path, monkeypatch):
    with pytest.raises(Stopped):
        run(tmp_path, before=stop_after(7))
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.safetensors")}

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint, "write_checkpoint", full)
    with pytest.raises(OSError, match=r"last\.safetensors could not be written.* bytes, .* free.*: last\.ckpt"):
        run(tmp_path, resume=True)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.safetensors")} == before
