import csv

import numpy as np
import pytest
from data.segmentation.folders import write_mask, write_pairs
from PIL import Image

from gpvit.data import Digits, ImageFolder, Preprocessing
from gpvit.data.detection.annotations import Annotations, ImageEntry, Objects
from gpvit.data.detection.categories import Categories
from gpvit.data.detection.folders import AnnotatedFiles
from gpvit.data.segmentation import MaskFolder
from gpvit.data.stats import count_labels, count_objects, count_pixels


@pytest.fixture
def masks(tmp_path):
    return MaskFolder(write_pairs(tmp_path), classes=["grass", "cat", "dog", "unicorn"])


@pytest.fixture
def objects(tmp_path):
    def make(boxes, labels=None, size=(100, 200), crowds=None):
        boxes = np.array(boxes, dtype=np.float32).reshape(-1, 4)
        labels = np.array([1] * len(boxes) if labels is None else labels, dtype=int)
        crowds = np.array([False] * len(boxes) if crowds is None else crowds, dtype=bool)
        entries = [ImageEntry(number, f"{number}.png", *size) for number in (1, 2)]
        for entry in entries:
            (tmp_path / entry.file_name).touch()
        some = Objects(boxes, labels, np.full(len(boxes), np.nan), crowds)
        none = Objects(np.zeros((0, 4), np.float32), np.zeros(0, int), np.zeros(0), np.zeros(0, bool))
        categories = Categories.from_names(["a", "b", "c"])
        return AnnotatedFiles(Annotations(categories, entries, [some, none]), tmp_path, False), categories

    return make


def rows(counts):
    return list(csv.DictReader(counts.to_csv().splitlines()))


def test_pixels_equal_naive_counts(masks):
    samples = masks.samples("train")
    counts = count_pixels(samples, masks.class_names)
    assert counts.examined == counts.total == 6
    for label, name in enumerate(masks.class_names):
        assert counts.counts[label] == sum(int((sample.mask == label).sum()) for sample in samples)
        assert counts.images[label] == sum(bool((sample.mask == label).any()) for sample in samples)
        assert rows(counts)[label]["class"] == name
        assert int(rows(counts)[label]["pixels"]) == counts.counts[label]
    assert sum(float(row["share"]) for row in rows(counts)) == pytest.approx(1, abs=1e-5)
    assert counts.warnings() == ["in 6 of 6 images, these classes never occur: unicorn"]


def test_an_even_sample(masks):
    class Counted(list):
        def __getitem__(self, index):
            asked.append(index)
            return super().__getitem__(index)

    asked = []
    counts = count_pixels(Counted([masks.samples("train")[0]] * 101), masks.class_names, limit=5)
    assert asked == [0, 25, 50, 75, 100]
    assert (counts.examined, counts.total) == (5, 101)


def test_faults_are_named_together_and_damage_is_noted(masks):
    write_mask(masks.masks / "train/0.png", np.full((40, 56), 9, np.uint8))
    write_mask(masks.masks / "train/2.png", np.zeros((3, 3), np.uint8))
    with pytest.raises(ValueError, match=r"2 of 6 masks examined[^\n]*\n[^\n]*0\.png: label 9[^\n]*\n[^\n]*2\.png 3x3"):
        count_pixels(masks.samples("train"), masks.class_names)
    for index in (0, 2):
        (masks.images / f"train/{index}.png").write_bytes(b"nothing")
    warnings = count_pixels(masks.samples("train"), masks.class_names).warnings()
    assert "damaged: " in warnings[0]
    assert "0.png" in warnings[0]
    assert "2.png" in warnings[1]


def test_masks_without_labels(masks):
    for path in (masks.masks / "train").rglob("*.png"):
        write_mask(path, np.full((40, 56), 255, np.uint8))
    counts = count_pixels(masks.samples("train"), masks.class_names)
    assert {row["share"] for row in rows(counts)} == {"0.0"}
    assert any("100% of the pixels are ignored" in message for message in counts.warnings())


def test_objects(objects):
    boxes = [[0, 0, 9, 9], [5, 5, 9, 9], [50, 50, 99, 99]]
    counts = count_objects(*objects(boxes, [1, 3, 3], crowds=[False, False, True]))
    assert [list(row.values()) for row in rows(counts)] == [
        ["a", "1", "0.5", "1", "1", "0", "9.0"],
        ["b", "0", "0.0", "0", "2", "0", ""],
        ["c", "1", "0.5", "1", "3", "1", "4.0"],
    ]
    assert list(rows(counts)[0]) == ["class", "objects", "share", "images", "id", "crowds", "median_side"]
    assert counts.warnings() == ["in 2 of 2 images, these classes never occur: b"]
    assert count_objects(*objects(boxes), limit=1).warnings() == ["in 1 of 2 images, these classes never occur: b, c"]
    assert count_objects(*objects([])).counts.tolist() == [0, 0, 0]


def test_boxes_over_the_border(objects):
    boxes = [[0, 0, 200, 100], [-0.5, 0, 200.9, 100], [-2, 0, 9, 9], [0, -2, 9, 9], [0, 0, 202, 9], [0, 0, 9, 102]]
    assert count_objects(*objects(boxes)).warnings()[0].startswith("4 of 6 boxes reach over the border")


def test_labels():
    counts = count_labels([0, 2, 2], ["cat", "dog", "owl"])
    assert rows(counts)[2] == {"class": "owl", "images": "2", "share": "0.666667"}
    assert counts.warnings() == ["in 3 of 3 images, these classes never occur: dog"]
    many = count_labels([], [str(label) for label in range(9)])
    assert many.warnings() == ["in 0 of 0 images, these classes never occur: 0, 1, 2, 3, 4 and 4 more"]


def test_a_classifiers_report(tmp_path):
    for split, count in (("train", 3), ("val", 1)):
        for name in ("cat", "dog"):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for index in range(count):
                Image.new("RGB", (20, 30), (90, 60 * index, 0)).save(tmp_path / "data" / split / name / f"{index}.png")
    data = ImageFolder(tmp_path / "data", preprocessing=Preprocessing((3, 16, 16)), num_workers=0)
    data.write_report(tmp_path / "run")
    assert (tmp_path / "run/labels.csv").read_text() == "class,images,share\ncat,3,0.5\ndog,3,0.5\n"
    with Image.open(tmp_path / "run/data.png") as sheet:
        assert sheet.size == (4 * 328 + 8, 2 * 348 + 8)
    Digits(image_size=16).write_report(tmp_path / "digits")
    assert [path.name for path in (tmp_path / "digits").iterdir()] == ["data.png"]
