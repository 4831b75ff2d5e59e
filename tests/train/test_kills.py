"""One run, killed over and over."""

import os
import random
import signal
import time

import pytest
import torch
from tasks.runs import differences
from train.test_preemption import RECIPE, finish, start

from gpvit.train.checkpointing import find_checkpoint

KILLS = 20
TWO = ("--trainer.devices", "2", "--trainer.strategy", "ddp", "--checkpoint_every", "1", "--trainer.max_epochs", "12")


@pytest.mark.slow  # minutes: more than forty starts of the command line
def test_twenty_kills_change_no_bit_and_lose_no_checkpoint(tmp_path):
    recipe = tmp_path / "small.yaml"
    recipe.write_text(RECIPE)
    finish(start(recipe, tmp_path / "whole", *TWO))
    seed = int(os.environ.get("GPVIT_KILL_SEED", time.time()))
    print(f"GPVIT_KILL_SEED={seed} repeats these kills")
    moments = random.Random(seed)
    folder = tmp_path / "run"
    steps = [0]
    for kill in range(KILLS):
        process = start(recipe, folder, "--resume", *TWO)
        before = _changed(folder / "last.ckpt")
        if moments.random() < 0.2:  # wherever it is, perhaps before the first step
            time.sleep(moments.uniform(0, 10))
        else:  # some steps further on, so that the run moves, but does not end before all kills
            while process.poll() is None and _changed(folder / "last.ckpt") == before:
                time.sleep(0.01)
            time.sleep(moments.uniform(0, 1))
        assert process.poll() is None, f"the run ended before kill {kill}: {process.communicate()[0]}"
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        checkpoint = find_checkpoint(folder)
        step = torch.load(checkpoint, weights_only=True)["global_step"] if checkpoint else 0
        assert step >= steps[-1], "a checkpoint was lost"
        steps.append(step)
    print(f"killed after steps {steps}")
    finish(start(recipe, folder, "--resume", *TWO))
    assert differences(tmp_path / "whole", folder) == []


def _changed(path):
    return path.stat().st_mtime_ns if path.exists() else None
