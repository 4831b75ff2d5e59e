"""The gate refuses what it should, told by runs that answer wrongly."""

import numpy as np
import onnxruntime
import pytest
import torch

from gpvit.errors import UserError
from gpvit.export.matching import compare_detections
from gpvit.export.parity import check_parity


def run_with(path, change):
    session = onnxruntime.InferenceSession(path)
    names = [each.name for each in session.get_outputs()]

    def run(images):
        outputs = dict(zip(names, session.run(names, {"images": images}), strict=True))
        change(outputs, images)
        return outputs

    return run


def wrong_at_one_size(outputs, images):
    if images.shape == (3, 3, 97, 131):
        outputs["logits"] = outputs["logits"] + 0.1


def not_a_number(outputs, images):
    outputs["logits"][0, 0] = np.nan


def one_group_less(outputs, images):
    outputs["grouping_1"] = outputs["grouping_1"][..., 1:, :]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (wrong_at_one_size, r"logits of 3 image\(s\) of 97x131 pixels: .* off by .* 1e-04 is allowed"),
        (not_a_number, "not finite"),
        (one_group_less, "with the shape"),
    ],
)
def test_what_differs_is_named(classifier, exported, change, message):
    path, metadata = exported
    with pytest.raises(UserError, match=message):
        check_parity(run_with(path, change), classifier, metadata)


def found(boxes, labels, scores):
    boxes = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)
    return {"boxes": boxes, "labels": torch.tensor(labels), "scores": torch.tensor(scores)}


MODEL = found([[0, 0, 9, 9], [5, 5, 20, 20], [5, 5, 20, 20]], [1, 1, 2], [0.9, 0.8, 0.7])


def compare(boxes, labels, scores):
    empty = 5 - len(labels)
    padded = found([*boxes, *[[0] * 4] * empty], labels + [0] * empty, scores + [0.0] * empty)
    batch = {name: values[None] for name, values in padded.items()}
    return compare_detections(batch, [MODEL], overlap=0.99, margin=2e-4, kept=5, least=0.05)


def test_detections_match_in_any_order():
    rows = compare([[5, 5, 20, 20], [0, 0, 9, 9], [5, 5, 20, 20.001]], [2, 1, 1], [0.7, 0.9, 0.8])
    assert rows["labels"] == {"agreement": 1, "objects": 3}
    assert rows["boxes"]["difference"] == pytest.approx(0.001, rel=0.01)
    assert rows["scores"]["difference"] == 0


def test_another_class_or_place_is_no_match():
    assert compare([[0, 0, 9, 9], [5, 5, 20, 20]], [1, 1], [0.9, 0.8])["labels"]["agreement"] == pytest.approx(5 / 6)
    moved = compare([[0, 0, 9, 9], [5, 5, 20, 20], [6, 6, 21, 21]], [1, 1, 2], [0.9, 0.8, 0.7])
    assert moved["labels"]["agreement"] == pytest.approx(4 / 6)


def test_what_is_hardly_above_the_threshold_counts_neither_way():
    boxes = [[0, 0, 9, 9], [5, 5, 20, 20], [5, 5, 20, 20], [40, 40, 50, 50]]
    assert compare(boxes, [1, 1, 2, 1], [0.9, 0.8, 0.7, 0.0501])["labels"]["agreement"] == 1
    assert compare(boxes, [1, 1, 2, 1], [0.9, 0.8, 0.7, 0.06])["labels"]["agreement"] < 1
