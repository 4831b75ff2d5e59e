"""Real processes on the CPU, one of which is killed."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

_BOUND_S = 30

SCRIPT = """
import os, sys, time, torch
from gpvit.data import ClassificationData, Preprocessing
from gpvit.tasks import ClassificationTask
from gpvit.train import build_trainer
from gpvit.train.failures import explained

class Endless(ClassificationData):
    def __init__(self):
        super().__init__(["a", "b"], Preprocessing((1, 32, 32), (0.5,), (0.5,)), 2, 0)
        images, labels = torch.rand(400, 1, 32, 32), torch.arange(400) % 2
        self.train_set = self.val_set = torch.utils.data.TensorDataset(images, labels)

task = ClassificationTask("gpvit_nano", mixup_alpha=0.0, cutmix_alpha=0.0, warmup_epochs=0)
def told(batch, batch_idx):
    if task.global_step == 1:
        with open(f"{sys.argv[1]}.{task.global_rank}", "w") as file:
            file.write(f"{os.getpid()} ")
task.on_train_batch_start = told
if sys.argv[2] == "stuck":  # in a step that no network tells the end of
    task.on_before_zero_grad = lambda optimizer: task.global_step and time.sleep(600)
trainer = build_trainer(sys.argv[1], max_epochs=100, accelerator="cpu", devices=2, strategy="ddp", logger=False,
                        limit_val_batches=0, num_sanity_val_steps=0)
try:
    with explained(trainer, task):
        trainer.fit(task, datamodule=Endless())
except ValueError as error:
    sys.exit(str(error))
"""


def _run(folder: Path, how: str, killed: int) -> tuple[float, int, str]:
    """Kill a process once both train; give the seconds until both have ended, the first one's exit code and words."""
    script = folder / "script.py"
    script.write_text(SCRIPT)
    environment = {name: value for name, value in os.environ.items() if name not in ("LOCAL_RANK", "NODE_RANK")}
    command = [sys.executable, str(script), str(folder / "run"), how]
    errors = folder / "errors"
    with errors.open("w") as file:
        first = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=file)
    pids: list[int] = []
    try:
        pids = [_told(folder / f"run.{rank}") for rank in (0, 1)]
        time.sleep(0.5)
        start = time.monotonic()
        os.kill(pids[killed], signal.SIGKILL)
        first.wait(timeout=_BOUND_S)
        while any(_runs(pid) for pid in pids):
            assert time.monotonic() - start < _BOUND_S, "the other process hangs"
            time.sleep(0.1)
        return time.monotonic() - start, first.returncode, errors.read_text()
    finally:
        for pid in {first.pid, *pids}:
            if _runs(pid):
                os.kill(pid, signal.SIGKILL)


def _told(path: Path) -> int:
    """Read the process id that a process tells when it trains."""
    end = time.monotonic() + 120
    while not (path.is_file() and path.read_text().endswith(" ")):
        assert time.monotonic() < end, "training did not start"
        time.sleep(0.1)
    return int(path.read_text())


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow  # two processes load everything
@pytest.mark.parametrize("how", ["training", "stuck"])
@pytest.mark.parametrize("killed", [0, 1])
def test_where_one_process_is_killed_the_other_ends_with_an_error(how, killed, tmp_path):
    seconds, code, errors = _run(tmp_path, how, killed)
    assert seconds < _BOUND_S
    assert code != 0
    if "Child process with PID" not in errors:  # Lightning, which looks every five seconds, may be the first to see it
        assert re.search("lost another process of this run|is gone, so this one ends, too", errors)
        assert "no checkpoint in" in errors
