import errno
import os
import subprocess
import sys
import textwrap

import pytest
import torch
from train.runs import Stopped, run, stop_after

from gpvit.train import checkpoint
from gpvit.train.checkpoint import find_checkpoint, save_checkpoint


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


def test_after_a_power_cut_between_two_renames_a_whole_one_is_found(tmp_path):
    write(tmp_path, 1)
    os.replace(tmp_path / "last.ckpt", tmp_path / "previous.ckpt")
    for place in (tmp_path, tmp_path / "last.ckpt"):
        assert step(find_checkpoint(place)) == 1


def test_there_may_be_none(tmp_path):
    assert find_checkpoint(tmp_path) is None
    assert find_checkpoint(tmp_path / "absent.ckpt") is None


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
            save_checkpoint(Path(sys.argv[1]), {"weights": torch.zeros(100_000)})
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

    monkeypatch.setattr(checkpoint, "save", full)
    with pytest.raises(OSError, match=r"last\.safetensors could not be written.* bytes, .* free.*: last\.ckpt"):
        run(tmp_path, resume=True)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.safetensors")} == before
