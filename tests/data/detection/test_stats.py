import csv

import numpy as np
import pytest
from gpvit.data.detection.stats import box_report

from gpvit.data.detection.annotations import Annotations, ImageEntry, Objects
from gpvit.data.detection.categories import Categories
from gpvit.data.detection.dataset import AnnotatedFiles
from gpvit.data.transforms.detection import DetectionAugmentation

AS_IT_IS = DetectionAugmentation(short_sides=())


@pytest.fixture
def pictures(tmp_path):
    def make(boxes, labels=None, size=(100, 200), crowds=None):
        boxes = np.array(boxes, dtype=np.float32).reshape(-1, 4)
        labels = np.array([1] * len(boxes) if labels is None else labels, dtype=int)
        crowds = np.array([False] * len(boxes) if crowds is None else crowds, dtype=bool)
        entries = [ImageEntry(1, "some.png", *size), ImageEntry(2, "none.png", *size)]
        (tmp_path / "some.png").touch()
        (tmp_path / "none.png").touch()
        some = Objects(boxes, labels, np.full(len(boxes), np.nan), crowds, [])
        none = Objects(np.zeros((0, 4), np.float32), np.zeros(0, int), np.zeros(0), np.zeros(0, bool), [])
        return AnnotatedFiles(
            Annotations(Categories.from_names(["a", "b", "c"]), entries, [some, none]), tmp_path, False
        )

    return make


def report(pictures, augmentation=AS_IT_IS):
    return box_report(pictures, pictures.annotations.categories, augmentation)


def test_counts(pictures):
    found = report(pictures([[0, 0, 9, 9], [5, 5, 9, 9], [50, 50, 99, 99]], [1, 3, 3], crowds=[False, False, True]))
    assert found.class_counts == {"a": 1, "b": 0, "c": 1}
    assert found.num_empty == 1
    assert found.warnings() == ["in 2 of 2 pictures, these classes never occur: b"]
    lines = list(csv.reader(found.to_csv().splitlines()))
    assert lines[1:4] == [
        ["1", "1", "a", "1", "1", "0", "9", "0", "1", "1", "1"],
        ["2", "2", "b", "0", "0", "0", "0", "0", "0", "0", "0"],
        ["3", "3", "c", "1", "1", "1", "4", "1", "1", "1", "1"],
    ]
    assert lines[4] == ["", "", "(all)", "2", "1", "1", "6.5", "0.5", "1", "1", "1"]
    table = found.table()
    assert table.title.startswith("2 of 2 pictures, 1 without objects\n")
    assert table.caption == found.advice()
    assert table.row_count == 3


def test_a_sample_is_enough(pictures):
    some = pictures([[0, 0, 9, 9]])
    found = box_report(some, some.annotations.categories, AS_IT_IS, limit=1)
    assert (found.examined, found.total) == (1, 2)
    assert found.warnings() == ["in 1 of 2 pictures, these classes never occur: b, c"]


def test_the_shorter_side_counts_in_cells(pictures):
    sides = (7, 8, 15, 16, 31, 32, 63, 64)
    found = report(pictures([[0, 0, 90 - side % 2, side] for side in sides]))
    assert found.small_shares == {4: 1 / 8, 8: 3 / 8, 16: 5 / 8, 32: 7 / 8}


def test_at_the_size_of_training(pictures):
    boxes = [[0, 0, 4, 50]]
    assert report(pictures(boxes)).sides.tolist() == [4]
    assert report(pictures(boxes), DetectionAugmentation(short_sides=(200,))).sides.tolist() == [8]
    assert report(pictures(boxes), DetectionAugmentation(short_sides=(100, 300, 400))).sides.tolist() == [12]
    assert report(pictures(boxes), DetectionAugmentation(short_sides=(200,), long_side=200)).sides.tolist() == [4]


@pytest.mark.parametrize(
    ("sides", "advice"),
    [
        ([10] * 5 + [90] * 5, "stride 4 pay: stride 8 would leave 50% more"),
        ([20] * 1 + [90] * 9, "stride 8 pay: stride 16 would leave 10% more"),
        ([90] * 10, "features of stride 16 resolve these boxes"),
        ([], "features of stride 16 resolve these boxes"),
    ],
)
def test_advice(pictures, sides, advice):
    assert advice in report(pictures([[0, 0, side, side] for side in sides])).advice()


def test_boxes_over_the_border(pictures):
    boxes = [[0, 0, 200, 100], [-0.5, 0, 200.9, 100], [-2, 0, 9, 9], [0, -2, 9, 9], [0, 0, 202, 9], [0, 0, 9, 102]]
    assert report(pictures(boxes)).outside.tolist() == [False, False, True, True, True, True]
