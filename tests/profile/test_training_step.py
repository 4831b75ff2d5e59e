import time

import pytest
import torch

from gpvit.profile.training_step import open_recipe

SMALL = [
    "recipes/digits/classify.yaml",
    *("--data.batch_size", "4", "--data.image_size", "32", "--model.weights", "in1k", "--model.base_batch_size", "64"),
]


def test_a_step_is_the_recipes_without_its_loading(monkeypatch):
    recipe = [*SMALL, "--trainer.devices", "8", "--trainer.num_nodes", "2", "--trainer.precision", "16-mixed"]
    data, step = open_recipe([*recipe, "--trainer.accumulate_grad_batches", "2"], "cpu")
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    taken = []
    own = torch.optim.AdamW.step

    def slow(optimizer, closure=None):
        taken.append(time.sleep(0.2))
        return own(optimizer, closure)

    monkeypatch.setattr(torch.optim.AdamW, "step", slow)
    rate = step.images_per_second(data, batch, rounds=3, warmup=1)
    assert len(taken) == 3  # one of warm-up and two timed, two batches each
    assert 0 < rate < 4 * 4 / (2 * 0.2)


def test_a_device_that_is_not_here_is_told():
    with pytest.raises(ValueError, match="choose 'cpu'"):
        open_recipe(SMALL, "toaster")
