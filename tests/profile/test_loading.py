import csv
import time

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch.utils.data import Dataset

from gpvit.data.classification.folders import ImageFolder
from gpvit.data.classification.module import ClassificationData
from gpvit.data.classification.shards import Shards
from gpvit.data.transforms.classification import Preprocessing
from gpvit.data.write_shards import write_shards
from gpvit.profile.loading import measure_loading, training_step, verdict
from gpvit.train.recipes import read_recipe

SECONDS = 0.01


class Slow(Dataset):
    """Samples that take a known time to load, which needs no processor."""

    def __len__(self):
        return 64

    def __getitem__(self, index):
        time.sleep(SECONDS)
        return torch.zeros(1, 8, 8), index % 2


class SlowData(ClassificationData):
    def __init__(self):
        super().__init__(["a", "b"], Preprocessing((1, 8, 8), (0.0,), (1.0,)), batch_size=8, num_workers=3)

    def setup(self, stage=None):
        self.train_set = Slow()


def model(batch):
    """Stand where a training step is timed: an optimiser step of two batches, a tenth of a second long."""
    assert batch[0].shape == (8, 1, 8, 8)
    return lambda: time.sleep(0.1), 2


def test_every_stage_is_timed(tmp_path):
    data = SlowData()
    report = measure_loading(data, [0, 2], rounds=3, warmup=1, model=model)
    sample, alone, two, step = report.rows
    assert [row["stage"] for row in report.rows] == [
        *("samples in memory", "whole loader", "whole loader", "training step"),
    ]
    assert [row["workers"] for row in report.rows] == [None, 0, 2, None]
    assert max(row["images_per_second"] for row in (sample, alone)) < 1 / SECONDS
    assert two["images_per_second_per_core"] == two["images_per_second"] / 2
    rate = step["images_per_second"]
    assert 0 < rate < 16 / 0.1
    # without workers, loading and learning take turns; with them, the slower sets the pace
    assert alone["training_images_per_second"] == pytest.approx(1 / (1 / alone["images_per_second"] + 1 / rate))
    assert two["training_images_per_second"] == min(two["images_per_second"], rate)
    assert data.num_workers == 3
    with report.write(tmp_path, "loading")[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["workers"] for row in rows] == ["", "0", "2", ""]
    assert {row["torch"] for row in rows} == {torch.__version__}
    console = Console(width=80)
    with console.capture() as capture:
        console.print(report)
    assert "whole loader" in capture.get()
    assert "batch 8, cpu" in capture.get()


def test_the_bottleneck_is_named_with_what_helps():
    model = verdict({0: 90.0, 1: 100.0, 2: 200.0, 4: 300.0}, 150.0, "cpu")
    assert model.startswith("The model is the bottleneck: with num_workers 2 the loader gives 200 images/s")
    assert "share the cores" in model
    loader = verdict({0: 90.0, 2: 200.0}, 1000.0, "cuda:0")
    assert loader.startswith("The loader is the bottleneck: with num_workers 2 it gives 200 images/s")
    assert "About 10 workers would keep up" in loader
    assert "share the cores" not in loader
    assert "Give a recipe" in verdict({0: 90.0}, None, "cpu")


@pytest.mark.parametrize("precision", ["32-true", "16-mixed"])
def test_a_training_step_is_the_recipes_without_its_loading(precision, monkeypatch):
    options = ["--data.batch_size=4", "--data.image_size=32", "--train.accumulate=2", f"--train.precision={precision}"]
    task, data, config = read_recipe(["recipes/digits/classify.yaml", *options, "--train.devices=8"]).build()
    data.setup("fit")
    taken = []
    own = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, *args, **kw: taken.append(own(self, *args, **kw)))
    step, batches = training_step(task, data, config, "cpu", next(iter(data.train_dataloader())))
    before = [parameter.clone() for parameter in task.parameters()]
    step()
    step()
    assert (batches, len(taken)) == (2, 2)
    assert not any(torch.equal(old, new) for old, new in zip(before, task.parameters(), strict=True))


def slow_transform(image):
    time.sleep(SECONDS)
    return torch.zeros(3, 8, 8)


def test_decoding_is_timed_apart_from_augmentation(tmp_path):
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            for number in range(4):
                path = tmp_path / "images" / split / name / f"{number}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((64, 64, 3), 9, np.uint8)).save(path)
    write_shards(tmp_path / "images", tmp_path / "shards")
    small = {"preprocessing": Preprocessing((3, 32, 32)), "batch_size": 4}
    for kind, root in ((ImageFolder, "images"), (Shards, "shards")):
        data = kind(tmp_path / root, **small)
        data.setup("fit")
        data.train_set.dataset.transform = slow_transform
        rows = measure_loading(data, [0], rounds=1, warmup=0).rows
        assert [row["stage"] for row in rows] == ["decoding", "decoding + augmentation", "whole loader"]
        assert rows[1]["images_per_second"] < 1 / SECONDS
        assert data.train_set.dataset.transform is slow_transform


@pytest.mark.parametrize("options", [{"rounds": 0}, {"warmup": -1}, {"num_workers": []}, {"num_workers": [-1]}])
def test_wrong_numbers(options):
    with pytest.raises(ValueError, match="at least 1 round"):
        measure_loading(SlowData(), **options)
