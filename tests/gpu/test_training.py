"""Short runs of every task, with what people switch on where there is a GPU."""

from itertools import product

import pytest
import torch
from distributed.short_runs import RUNS
from safetensors.torch import load_file

from gpvit.train import TrainConfig, fit

pytestmark = pytest.mark.gpu


def first_loss(folder, task, data, accelerator, **settings) -> tuple[float, dict[str, torch.Tensor]]:
    """Train for two steps; return the loss of the first, and the weights at the end."""
    losses = []
    step = task.training_step

    def training_step(batch, batch_idx):
        losses.append(step(batch, batch_idx))
        return losses[-1]

    task.training_step = training_step
    data.batch_size = 4
    fit(task, data, TrainConfig(steps=2, devices=1, accelerator=accelerator, loggers=(), **settings), folder)
    return losses[0]["loss"].item(), load_file(folder / "last.safetensors")


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize(("grad_checkpointing", "compile"), list(product([False, True], repeat=2)))
def test_half_precision_trains_every_task(tmp_path, accelerator, name, precision, grad_checkpointing, compile):
    if accelerator == "cpu" and (compile or precision == "16-mixed"):
        pytest.skip("a CPU has no fast float16, and compiles for minutes")
    exact, start = first_loss(tmp_path / "exact", *RUNS[name](), accelerator)
    switches = {"grad_checkpointing": grad_checkpointing, "compile": compile}
    loss, weights = first_loss(tmp_path / "half", *RUNS[name](), accelerator, precision=precision, **switches)
    assert loss == pytest.approx(exact, rel=0.02)
    assert weights.keys() == start.keys()
    assert all(torch.isfinite(weight).all() for weight in weights.values())
