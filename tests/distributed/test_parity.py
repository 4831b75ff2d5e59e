"""Two real processes learn what one process with twice the batch learns."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

SCRIPT = Path(__file__).with_name("short_runs.py")
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


def start(folder: Path, run: str, *launcher: str) -> subprocess.Popen:
    command = [sys.executable, *launcher, str(SCRIPT), str(folder), "4", run]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def train(folder: Path, run: str) -> tuple[Path, Path]:
    """Train in one process and in two, at the same time, and return the two run folders."""
    processes = [start(folder / "one", run), start(folder / "two", run, *TORCHRUN)]
    for process in processes:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    return folder / "one" / run, folder / "two" / run


def assert_same(one: Path, two: Path) -> None:
    weights, others = load_file(one), load_file(two)
    assert weights.keys() == others.keys()
    for name, tensor in weights.items():
        assert torch.allclose(tensor, others[name], rtol=0, atol=1e-9), name


@pytest.mark.slow
@pytest.mark.parametrize("task", ["classification", "segmentation", "detection"])
def test_two_processes_learn_as_one_with_twice_the_batch(tmp_path, task):
    one, two = train(tmp_path, task)
    assert_same(one / "last.safetensors", two / "last.safetensors")
    assert_same(one / "ema_last.safetensors", two / "ema_last.safetensors")
    metrics, others = (json.loads((run / "metrics.json").read_text())["last"] for run in (one, two))
    scores = {name for name in metrics if name.startswith("val/")}
    assert any(name.startswith("val/ema_") for name in scores)
    assert {name: others[name] for name in scores} == pytest.approx({n: metrics[n] for n in scores}, abs=3e-5)
