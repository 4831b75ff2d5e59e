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
from gpvit.devices import describe_machine
from gpvit.profile.loading import LoadingReport, Stage, measure_loading

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


class Model:
    """Stands where a training step is timed, with a rate of its own."""

    device = "cpu"

    def __init__(self, rate):
        self.rate = rate

    def images_per_second(self, data, batch, rounds, warmup):
        assert batch[0].shape == (8, 1, 8, 8)
        return self.rate


def test_rates_are_those_of_the_samples():
    data = SlowData()
    report = measure_loading(data, [0, 2], rounds=3, warmup=1, model=Model(40.0))
    sample, alone, two = report.stages
    assert (sample.name, alone.workers, two.workers) == ("samples in memory", 0, 2)
    limit = 1 / SECONDS
    assert 0.5 * limit < sample.images_per_second < limit
    assert 0.5 * limit < alone.images_per_second < limit
    assert 1.2 * limit < two.images_per_second < 2.4 * limit  # two workers sleep at once
    assert two.per_core == two.images_per_second / 2
    # without workers, loading and learning take turns; with them, the slower sets the pace
    assert alone.training_images_per_second == pytest.approx(1 / (1 / alone.images_per_second + 1 / 40))
    assert two.training_images_per_second == 40
    assert data.num_workers == 3


def report_of(step, device="cpu", **loaders):
    stages = [Stage("whole loader", rate, int(name[1:])) for name, rate in loaders.items()]
    step = None if step is None else Stage("training step", step)
    return LoadingReport(describe_machine(), 8, device, (Stage("decoding", 100.0), *stages), step)


def test_the_bottleneck_is_named_with_what_helps():
    model = report_of(150.0, w0=90.0, w1=100.0, w2=200.0, w4=300.0).verdict()
    assert model.startswith("The model is the bottleneck: with num_workers 2 the loader gives 200 images/s")
    assert "share the cores" in model
    loader = report_of(1000.0, "cuda:0", w0=90.0, w2=200.0).verdict()
    assert loader.startswith("The loader is the bottleneck: with num_workers 2 it gives 200 images/s")
    assert "About 10 workers would keep up" in loader
    assert "share" not in loader
    assert "Give a recipe" in report_of(None, w0=90.0).verdict()
    # fast as it is, a loader without workers makes the model wait
    assert report_of(50.0, w0=90.0).verdict().startswith("The loader is the bottleneck")


def test_the_table_is_printed_and_written(tmp_path):
    report = report_of(150.0, w0=90.0, w2=200.0)
    console = Console(width=100)
    with console.capture() as capture:
        console.print(report)
    assert all(text in capture.get() for text in ("decoding", "whole loader", "training step", "The model is the"))
    path = report.write(tmp_path / "new")
    assert [path] == list(path.parent.iterdir())
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["stage"] for row in rows] == ["decoding", "whole loader", "whole loader", "training step"]
    assert [row["workers"] for row in rows] == ["", "0", "2", ""]
    assert [row["images_per_second_per_core"] for row in rows] == ["100.0", "90.0", "100.0", ""]
    assert {row["torch"] for row in rows} == {torch.__version__}


def slow_transform(image):
    time.sleep(0.05)
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
        decoding, augmented, loader = measure_loading(data, [0], rounds=3, warmup=1).stages
        assert (decoding.name, augmented.name, loader.name) == ("decoding", "decoding + augmentation", "whole loader")
        assert augmented.images_per_second < 50 < 2 * decoding.images_per_second


@pytest.mark.parametrize("options", [{"rounds": 0}, {"warmup": -1}, {"num_workers": []}, {"num_workers": [-1]}])
def test_wrong_numbers(options):
    with pytest.raises(ValueError, match="at least 1 round"):
        measure_loading(SlowData(), **options)
