import csv

import numpy as np
import pytest
from data.segmentation.folders import write_mask, write_pairs
from gpvit.data.segmentation.stats import label_report
from rich.console import Console

from gpvit.data.segmentation.folders import MaskFolder


@pytest.fixture
def data(tmp_path):
    return MaskFolder(write_pairs(tmp_path), classes=["grass", "cat", "dog", "unicorn"])


def test_counts_equal_naive_ones(data):
    pairs = data.pairs("train")
    report = label_report(pairs, data.class_names)
    masks = [pair.mask for pair in pairs]
    assert report.examined == report.total == 6
    for label in range(4):
        assert report.pixels[label] == sum(int((mask == label).sum()) for mask in masks)
        assert report.images[label] == sum(bool((mask == label).any()) for mask in masks)
    assert report.ignored == 6 * 2 * 56
    assert report.ignored_share == pytest.approx(2 / 40)
    assert report.shares.sum() == pytest.approx(1)
    assert report.absent == ("unicorn",)
    assert report.warnings() == ["in 6 of 6 masks, these classes never occur: unicorn"]


def test_an_even_sample(data):
    class Counted(list):
        def __getitem__(self, index):
            asked.append(index)
            return super().__getitem__(index)

    asked = []
    report = label_report(Counted([data.pairs("train")[0]] * 101), data.class_names, limit=5)
    assert asked == [0, 25, 50, 75, 100]
    assert (report.examined, report.total) == (5, 101)


def test_table_and_csv(data):
    report = label_report(data.pairs("train"), data.class_names)
    console = Console(width=100, record=True, file=None, quiet=False)
    with console.capture() as capture:
        console.print(report.table())
    text = capture.get()
    assert "5.0% of their pixels ignored" in text
    assert text.index("grass") < text.index("unicorn")
    rows = list(csv.DictReader(report.to_csv().splitlines()))
    assert [row["class"] for row in rows] == [*data.class_names, "(ignored)"]
    assert [int(row["pixels"]) for row in rows] == [*report.pixels.tolist(), report.ignored]


def test_faults_are_named_together_and_damage_is_told(data):
    write_mask(data.masks / "train/0.png", np.full((40, 56), 9, np.uint8))
    write_mask(data.masks / "train/2.png", np.zeros((3, 3), np.uint8))
    with pytest.raises(ValueError, match=r"2 of 6 pairs examined[^\n]*\n[^\n]*0\.png: label 9[^\n]*\n[^\n]*2\.png 3x3"):
        label_report(data.pairs("train"), data.class_names)
    for index in (0, 2):
        (data.images / f"train/{index}.png").write_bytes(b"nothing")
    report = label_report(data.pairs("train"), data.class_names)
    assert len(report.damaged) == 2
    assert "damaged: " in report.warnings()[0]
    assert "0.png" in report.warnings()[0]


def test_masks_without_labels_are_told(data):
    for path in (data.masks / "train").rglob("*.png"):
        write_mask(path, np.full((40, 56), 255, np.uint8))
    report = label_report(data.pairs("train"), data.class_names)
    assert report.shares.tolist() == [0, 0, 0, 0]
    assert any("100% of the pixels are ignored" in message for message in report.warnings())
