import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gpvit.train.seeding import StepSeeds


def drawn(batch: int, rank: int = 0, seed: int = 3) -> tuple[float, float, float]:
    callback = StepSeeds()
    callback.load_state_dict({"seed": seed})
    trainer = SimpleNamespace(fit_loop=SimpleNamespace(total_batch_idx=batch), global_rank=rank)
    callback.on_train_batch_start(trainer, None, None, batch)
    return random.random(), np.random.random(), torch.rand(()).item()


def test_a_batch_draws_the_same_whatever_was_drawn_before():
    first = drawn(5)
    torch.rand(7), random.random()
    assert drawn(5) == first


@pytest.mark.parametrize("other", [{"batch": 6}, {"batch": 5, "rank": 1}, {"batch": 5, "seed": 4}])
def test_batches_processes_and_runs_draw_for_themselves(other):
    assert all(a != b for a, b in zip(drawn(**other), drawn(5), strict=True))
