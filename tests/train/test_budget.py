import warnings

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from torch.utils.data import DataLoader

from gpvit.train.budget import Plan, bytes_on_disk, plan

SETTINGS = [
    {"max_epochs": 3},
    {"max_epochs": 3, "accumulate_grad_batches": 4},
    {"max_steps": 7},
    {"max_steps": 7, "max_epochs": 2},
    {"max_steps": 50, "max_epochs": 2, "accumulate_grad_batches": 2},
    {"max_epochs": 2, "limit_train_batches": 4, "limit_val_batches": 1},
    {"max_epochs": 2, "limit_train_batches": 0.5, "limit_val_batches": 0.5},
    {"max_epochs": 4, "check_val_every_n_epoch": 2},
    {"max_epochs": 2, "val_check_interval": 0.5},
    {"max_epochs": 2, "val_check_interval": 3},
    {"max_steps": 20, "val_check_interval": 6, "check_val_every_n_epoch": None},
]


class Counting(BoringModel):
    def __init__(self):
        super().__init__()
        self.batches = self.val_batches = 0

    def training_step(self, batch, batch_idx):
        self.batches += 1
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        self.val_batches += 1
        return super().validation_step(batch, batch_idx)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_plan_is_what_lightning_does(settings, tmp_path):
    model, train, val = Counting(), torch.rand(20, 32), torch.rand(7, 32)
    silent = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = Trainer(
            accelerator="cpu",
            num_sanity_val_steps=0,
            default_root_dir=tmp_path,
            **dict.fromkeys(silent, False),
            **settings,
        )
        trainer.fit(model, DataLoader(train, batch_size=2, drop_last=True), DataLoader(val, batch_size=2))
    planned = plan(settings, 20, 2, 4)
    assert (planned.steps, planned.batches) == (trainer.global_step, model.batches)
    assert planned.val_batches == model.val_batches
    assert planned.devices == 1


@pytest.mark.parametrize(
    ("settings", "devices", "steps"),
    [
        ({"devices": 8, "num_nodes": 2}, 16, 62),
        ({"devices": "2"}, 2, 500),
        ({"devices": [0, 3]}, 2, 500),
        ({"devices": "0,1,"}, 2, 500),
        ({"devices": 4, "accumulate_grad_batches": 5}, 4, 50),
    ],
)
def test_devices_share_the_images(settings, devices, steps):
    planned = plan({"max_epochs": 10, **settings}, 1000, 10, 100)
    assert (planned.devices, planned.steps) == (devices, steps if devices != 16 else 60)
    assert planned.val_batches == 10 * -(-100 // devices)


def test_time_is_that_of_what_is_slower():
    planned = Plan(devices=1, epochs=1, steps=10, batches=10, val_batches=4)
    assert planned.seconds(batch=2, loading=0.5, workers=0, val_batch=1) == 29
    assert planned.seconds(batch=2, loading=0.5, workers=2, val_batch=1) == 24
    assert planned.seconds(batch=2, loading=3, workers=2, val_batch=1) == 34
    assert bytes_on_disk(100, 200) == 1200


def test_a_run_without_end_is_refused():
    with pytest.raises(ValueError, match="the run has no end"):
        plan({"max_epochs": -1}, 100, 10, 1)
