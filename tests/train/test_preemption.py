import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from tasks.runs import differences

RECIPE = """
seed_everything: 0
model:
  class_path: gpvit.tasks.ClassificationTask
  init_args: {name: gpvit_nano, model_kwargs: {drop_path_rate: 0.3}, warmup_epochs: 0}
data:
  class_path: gpvit.data.Digits
  init_args: {image_size: 32, batch_size: 4, num_workers: 1}
trainer:
  max_epochs: 2
  limit_train_batches: 12
  limit_val_batches: 2
  accumulate_grad_batches: 2
  accelerator: cpu
  num_sanity_val_steps: 0
  callbacks:
    - class_path: gpvit.train.ModelEMA
      init_args: {decay: 0.9}
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "small.yaml"
    path.write_text(RECIPE)
    return path


def start(recipe, folder, *arguments):
    command = [sys.executable, "-m", "gpvit", "train", str(recipe), "--out", str(folder), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    # in a session of its own, so that a signal can be sent to all of its processes and to none else
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    )


def finish(process):
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 0, told
    return told


def wait_for(path, process):
    while not path.exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)


@pytest.mark.slow  # four starts of the command line
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_the_run_which_goes_on_exactly(recipe, tmp_path, number):
    finish(start(recipe, tmp_path / "whole"))
    process = start(recipe, tmp_path / "run", "--checkpoint_every", "1")
    wait_for(tmp_path / "run/last.ckpt", process)
    sent = time.monotonic()
    os.killpg(process.pid, number)  # loader processes are sent it, too, as by a terminal or a cluster
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert time.monotonic() - sent < 30
    assert f"stopped by {number.name}" in told
    assert "--resume to go on" in told
    assert "Traceback" not in told
    assert torch.load(tmp_path / "run/last.ckpt", weights_only=True)["global_step"] < 12
    finish(start(recipe, tmp_path / "run", "--resume"))
    assert differences(tmp_path / "whole", tmp_path / "run") == []


@pytest.mark.slow
def test_what_resume_alone_refuses_and_what_it_starts(recipe, tmp_path):
    told = finish(start(recipe, tmp_path / "run", "--resume", "--trainer.max_epochs", "1"))
    assert "yet: starting from the beginning" in told
    process = start(recipe, tmp_path / "run", "--resume", "--model.lr", "0.5")
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "holds the run of another recipe" in told
    assert "model.lr: 0.002 there, 0.5 here" in told
    told = finish(start(recipe, tmp_path / "run", "--resume"))  # two epochs, where there was one
    assert "epoch 2/2" in told
    assert "epoch 1/" not in told
