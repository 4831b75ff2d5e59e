"""One run of two processes, killed over and over; and what signals do to it."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from train.runs import differences

from gpvit.train.checkpoint import find_checkpoint

KILLS = 20
SCRIPT = Path(__file__).with_name("runs.py")
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
TWO = ("--devices", "2", "--accumulate", "1", "--resume", "True")


def start(folder, *arguments, launcher=()):
    command = [sys.executable, *launcher, str(SCRIPT), str(folder), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    # in a session of its own, so that a signal can be sent to all of its processes and to none else
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    )


def finish(process, code=0):
    said, _ = process.communicate(timeout=300)
    assert process.returncode == code, said
    return said


def wait_for(path, process):
    while not path.exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)


@pytest.mark.slow  # minutes: more than forty starts
def test_twenty_kills_change_no_bit_and_lose_no_checkpoint(tmp_path):
    finish(start(tmp_path / "whole", *TWO, "--epochs", "12"))
    seed = int(os.environ.get("GPVIT_KILL_SEED", time.time()))
    print(f"GPVIT_KILL_SEED={seed} repeats these kills")
    moments = random.Random(seed)
    folder = tmp_path / "run"
    steps = [0]
    for kill in range(KILLS):
        process = start(folder, *TWO, "--epochs", "12")
        before = _changed(folder / "last.ckpt")
        if moments.random() < 0.2:  # wherever it is, perhaps before the first step
            time.sleep(moments.uniform(0, 10))
        else:  # some steps further on, so that the run moves, but does not end before all kills
            while process.poll() is None and _changed(folder / "last.ckpt") == before:
                time.sleep(0.01)
            time.sleep(moments.uniform(0, 0.5))
        assert process.poll() is None, f"the run ended before kill {kill}: {process.communicate()[0]}"
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        checkpoint = find_checkpoint(folder) if folder.is_dir() else None
        step = torch.load(checkpoint, weights_only=True)["step"] if checkpoint else 0
        assert step >= steps[-1], "a checkpoint was lost"
        steps.append(step)
    print(f"killed after steps {steps}")
    finish(start(folder, *TWO, "--epochs", "12"))
    assert differences(tmp_path / "whole", folder) == []
    for name in ("last", "best", "ema_last", "ema_best"):
        pair = [(run / f"{name}.safetensors").read_bytes() for run in (tmp_path / "whole", folder)]
        assert pair[0] == pair[1], name


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_the_run_which_is_resumed_exactly(tmp_path, number):
    options = ("--num_workers", "1", "--images", "56")
    finish(start(tmp_path / "whole", *options))
    process = start(tmp_path / "run", *options)
    wait_for(tmp_path / "run/last.ckpt", process)
    os.killpg(process.pid, number)  # loader processes are sent it, too, as by a terminal or a cluster
    said = finish(process, 128 + number)
    assert f"stopped by {number.name}" in said
    assert "gpvit train --resume" in said
    assert "Traceback" not in said
    assert torch.load(tmp_path / "run/last.ckpt", weights_only=True)["step"] < 14
    finish(start(tmp_path / "run", *options, "--resume", "True"))
    assert differences(tmp_path / "whole", tmp_path / "run") == []


@pytest.mark.slow
def test_a_signal_to_one_of_two_processes_stops_both_also_in_a_validation(tmp_path):
    """Between steps and between validation batches, both agree on where they stop."""
    for images, val_images in (("1200", "2"), ("4", "500")):
        folder = tmp_path / images
        options = (*TWO, "--images", images, "--val_images", val_images)
        process = start(folder, *options)
        wait_for(folder / "last.ckpt", process)
        process.send_signal(signal.SIGTERM)  # to the first process alone
        said = finish(process, 128 + signal.SIGTERM)
        assert "stopped by SIGTERM" in said
        assert "Traceback" not in said
        assert find_checkpoint(folder) is not None


@pytest.mark.slow
def test_under_torchrun_all_processes_say_that_they_were_stopped(tmp_path):
    process = start(tmp_path / "run", "--devices", "'auto'", "--images", "1200", launcher=TORCHRUN)
    wait_for(tmp_path / "run/last.ckpt", process)
    os.killpg(process.pid, signal.SIGTERM)
    said, _ = process.communicate(timeout=120)
    assert process.returncode != 0, said
    assert "stopped by SIGTERM" in said
    assert find_checkpoint(tmp_path / "run") is not None


@pytest.mark.slow
def test_a_second_ctrl_c_ends_two_processes_at_once(tmp_path):
    process = start(tmp_path / "run", *TWO, "--images", "1200", "--accumulate", "250")
    wait_for(tmp_path / "run/config.yaml", process)
    time.sleep(5)  # now a step, which takes many seconds
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    sent = time.monotonic()
    process.communicate(timeout=60)
    assert process.returncode in (-signal.SIGINT, 128 + signal.SIGINT)
    assert time.monotonic() - sent < 30
    assert not (tmp_path / "run/last.ckpt").exists()


@pytest.mark.slow
def test_processes_that_each_name_a_folder_write_into_that_of_the_first(tmp_path):
    code = (
        "import os, sys; sys.path[:0] = [{tests!r}]\n"
        "from pathlib import Path\n"
        "from train.runs import run\n"
        "run(Path({folder!r}, os.environ.get('LOCAL_RANK', '0')), devices=2, accumulate=1, epochs=1)\n"
    )
    script = tmp_path / "named_by_rank.py"
    script.write_text(code.format(tests=str(SCRIPT.parents[1]), folder=str(tmp_path / "runs")))
    command = [sys.executable, str(script)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["0"]


def _changed(path):
    return path.stat().st_mtime_ns if path.exists() else None
