"""What users may get wrong is named."""

import pytest
import torch

from gpvit.models.detection.targets import check_images, check_targets

NAN, INF = float("nan"), float("inf")


def target(box=(1.0, 2.0, 9.0, 8.0), label=1, **changes) -> dict[str, torch.Tensor]:
    return {
        "boxes": torch.tensor([[0.0, 0.0, 20.0, 10.0], list(box)]),
        "labels": torch.tensor([3, label]),
        "masks": torch.zeros(2, 10, 20, dtype=torch.uint8),
        **changes,
    }


IMAGE = torch.zeros(3, 10, 20)
EMPTY = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "masks": torch.zeros(0, 10, 20)}


@pytest.mark.parametrize(
    "box",
    [
        (NAN, 1, 5, 5),
        (1, 1, 5, INF),
        (-INF, 1, 5, 5),
        (-4, 1, 5, 5),
        (1, -3, 5, 5),
        (5, 1, 5, 5),
        (6, 1, 5, 5),
        (1, 7, 5, 3),
        (1, 1, 23, 5),
        (1, 1, 5, 12),
    ],
)
def test_impossible_boxes(box):
    with pytest.raises(ValueError, match=r"box 1 of target 1 is \[.*\] in an image 20 wide and 10 high"):
        check_targets([target(), target(tuple(map(float, box)))], [IMAGE, IMAGE], 3, masks=True)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (target(label=0), "labels of target 0 go from 0 to 3; the model has classes 1 to 3, and 0 is the background"),
        (target(label=4), "go from 3 to 4"),
        (target(labels=torch.tensor([1.0, 2.0])), "must be int64"),
        (target(labels=torch.tensor([1])), "one for each box"),
        (target(boxes=torch.zeros(2, 4, dtype=torch.int64)), "must be floats"),
        (target(boxes=torch.zeros(2, 5)), r"\(2, 5\)"),
        (target(masks=torch.zeros(2, 10, 21)), r"must be \(2, 10, 20\)"),
        (target(masks=torch.zeros(1, 10, 20)), r"got \(1, 10, 20\)"),
        ({"boxes": torch.zeros(0, 4)}, "target 0 has no labels, masks"),
    ],
)
def test_other_wrong_targets(wrong, message):
    with pytest.raises(ValueError, match=message):
        check_targets([wrong], [IMAGE], 3, masks=True)


@pytest.mark.parametrize(("given", "message"), [(None, "got none"), ([target()], "each of 2 images; got 1")])
def test_a_target_for_each_image(given, message):
    with pytest.raises(ValueError, match=message):
        check_targets(given, [IMAGE, IMAGE], 3, masks=True)


def test_proper_targets():
    rounded = target((-0.5, 0.0, 20.9, 10.4))
    check_targets([target(), rounded, EMPTY], [IMAGE] * 3, 3, masks=True)
    without_masks = {name: value for name, value in target().items() if name != "masks"}
    check_targets([without_masks], [IMAGE], 3, masks=False)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "no images"),
        ([IMAGE, torch.zeros(1, 10, 20)], r"image 1 must have the shape \(3, height, width\); got \(1, 10, 20\)"),
        ([torch.zeros(1, 3, 10, 20)], "image 0 must have"),
        ([torch.zeros(3, 0, 20)], "image 0 must have"),
        ([torch.zeros(3, 10, 20, dtype=torch.uint8)], r"scale it to floats in \[0, 1\]"),
    ],
)
def test_wrong_images(images, message):
    with pytest.raises(ValueError, match=message):
        check_images(images, 3)
