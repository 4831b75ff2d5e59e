import errno
import os
import subprocess
import sys
import textwrap

import pytest
import torch

from gpvit.train.checkpointing import CheckpointFiles, find_checkpoint

FILES = CheckpointFiles()


def write(folder, step):
    FILES.save_checkpoint({"step": step, "weights": torch.full((1000,), step)}, folder / "last.ckpt")


def step(path):
    return FILES.load_checkpoint(path, weights_only=True)["step"]


def test_the_last_two_are_kept(tmp_path):
    for number in range(3):
        write(tmp_path, number)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.ckpt", "previous.ckpt"]
    assert step(find_checkpoint(tmp_path)) == 2
    assert step(tmp_path / "previous.ckpt") == 1


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.99])
def test_a_file_torn_anywhere_is_passed_over(tmp_path, capsys, part):
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


def test_after_a_power_cut_between_two_writes_a_whole_one_is_found(tmp_path):
    write(tmp_path, 1)
    os.replace(tmp_path / "last.ckpt", tmp_path / "previous.ckpt")
    (tmp_path / ".last.ckpt.writing").write_bytes(b"PK half")
    for place in (tmp_path, tmp_path / "last.ckpt"):
        assert step(find_checkpoint(place)) == 1
    write(tmp_path, 2)
    assert not (tmp_path / ".last.ckpt.writing").exists()


def test_there_may_be_none(tmp_path):
    assert find_checkpoint(tmp_path) is None
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*absent\.ckpt"):
        find_checkpoint(tmp_path / "absent.ckpt")


def test_a_full_disk_leaves_the_earlier_ones_whole(tmp_path):
    """Files of the process may not grow beyond a limit, which fails as a full disk does, in the middle of writing."""
    write(tmp_path, 1)
    write(tmp_path, 2)
    script = """
        import resource, signal, sys, torch
        from pathlib import Path
        from gpvit.train.checkpointing import CheckpointFiles
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        try:
            CheckpointFiles().save_checkpoint({"weights": torch.zeros(100_000)}, Path(sys.argv[1]))
        except OSError as error:
            print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "last.ckpt")]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "last.ckpt could not be written" in told
    assert str(tmp_path) in told
    assert "bytes" in told
    assert "whole are: last.ckpt and previous.ckpt" in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.ckpt", "previous.ckpt"]
    assert step(find_checkpoint(tmp_path)) == 2


def test_a_disk_that_is_full_when_it_is_asked_to_keep_the_bytes(tmp_path, monkeypatch):
    write(tmp_path, 1)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device.*needs [\d,]+ bytes.* has [\d,]+ free") as raised:
        write(tmp_path, 2)
    assert raised.value.errno == errno.ENOSPC
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
    assert step(tmp_path / "last.ckpt") == 1
