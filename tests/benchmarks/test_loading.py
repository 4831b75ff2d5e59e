import time

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from benchmarks.loading import main, measure, training_step
from gpvit.data.classification.folders import ImageFolder
from gpvit.data.classification.module import ClassificationData
from gpvit.data.classification.shards import Shards
from gpvit.data.transforms.classification import Preprocessing
from gpvit.data.write_shards import write_shards
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


def test_every_stage_is_timed():
    data = SlowData()
    rates = measure(data, model, [0, 2], rounds=3, warmup=1)
    assert list(rates) == ["samples in memory", "0 workers", "2 workers", "training step"]
    assert max(rates["samples in memory"], rates["0 workers"]) < 1 / SECONDS
    assert 0 < rates["training step"] < 16 / 0.1
    assert data.num_workers == 3


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
        rates = measure(data, None, [0], rounds=1, warmup=0)
        assert list(rates) == ["decoding", "decoding + augmentation", "0 workers"]
        assert rates["decoding + augmentation"] < 1 / SECONDS
        assert data.train_set.dataset.transform is slow_transform


def test_a_recipe_is_set_beside_its_model(capsys, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        """
model: {name: gpvit_nano, weights: in1k}
data: {class: Digits, image_size: 32, batch_size: 4}
train: {epochs: 1}
"""
    )
    quick = ["--workers", "0", "1", "--rounds", "1", "--warmup", "0"]
    main([str(recipe), *quick])
    assert "The model is the bottleneck." in capsys.readouterr().out
    main(["digits", *quick])
    text = capsys.readouterr().out
    assert "1 workers" in text
    assert "bottleneck" not in text
