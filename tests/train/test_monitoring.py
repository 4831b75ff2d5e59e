import csv
import time

import pytest
import torch
from lightning import Callback

from gpvit.data import Digits
from gpvit.tasks import ClassificationTask
from gpvit.train import build_trainer, fit
from gpvit.train.monitoring import Stretch, in_words

BATCH = 8


class SlowDigits(Digits):
    def __init__(self, seconds: float):
        super().__init__(image_size=32, batch_size=BATCH)
        collate = self.train_collate
        self.train_collate = lambda samples: (time.sleep(seconds), collate(samples))[1]


class SlowValidation(Callback):
    def on_validation_start(self, trainer, pl_module):
        time.sleep(1)


def figures(folder, data: Digits, *callbacks: Callback) -> list[dict[str, float]]:
    """Train two epochs of five steps and return the logged figures, line by line."""
    task = ClassificationTask("gpvit_nano", warmup_epochs=0)
    options = {"limit_train_batches": 5, "limit_val_batches": 1, "num_sanity_val_steps": 0, "log_every_n_steps": 5}
    fit(build_trainer(folder, callbacks, accelerator="cpu", max_epochs=2, **options), task, data)
    with (folder / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["speed/images_per_s"]]
    return [{name: float(row[name]) for name in row if name.startswith(("speed/", "memory/"))} for row in rows]


def test_a_slow_loader_shows_as_waiting(tmp_path):
    slow = figures(tmp_path / "slow", SlowDigits(0.3))
    fast = figures(tmp_path / "fast", SlowDigits(0.0))
    assert len(slow) == 4  # after the fifth step of each epoch, and at its end
    for one, other in zip(slow, fast, strict=True):
        assert one["speed/data_wait"] > other["speed/data_wait"] + 0.2
        seconds = BATCH / one["speed/images_per_s"]
        assert 0.3 < one["speed/data_wait"] * seconds < 0.5  # of each step


def test_validation_is_in_the_time_left_and_not_in_the_speed(tmp_path):
    rows = figures(tmp_path, SlowDigits(0.0), SlowValidation())
    assert all(5 * BATCH / row["speed/images_per_s"] < 1 for row in rows)
    assert [row["speed/eta_s"] == 0 for row in rows] == [False, False, True, True]
    assert rows[1]["speed/eta_s"] > 1


def test_memory_is_that_of_this_process(tmp_path):
    kept = torch.ones(2**28)  # 1 GiB
    assert all(row["memory/peak_gib"] > kept.nbytes / 2**30 for row in figures(tmp_path, SlowDigits(0.0)))


def test_a_stretch_without_steps_has_no_figures():
    assert Stretch().figures() == {}
    stretch = Stretch()
    stretch.add(8, 2.0, 0.5)
    stretch.add(8, 2.0, 0.5)
    assert stretch.figures() == {"speed/images_per_s": pytest.approx(4), "speed/data_wait": pytest.approx(0.25)}


def test_figures_are_written_for_people():
    assert in_words({"speed/images_per_s": 1234.5, "memory/peak_gib": 1.254}) == {
        "images/s": "1234",
        "memory": "1.25 GiB",
    }
