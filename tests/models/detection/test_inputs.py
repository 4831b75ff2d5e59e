"""Resizing, padding and batching, against the code's sizes; and what users may get wrong is named."""

import pytest
import torch

from gpvit.models.detection.inputs import RoundedResize, check_images, check_targets
from gpvit.runtime.resizing import fitted_size

# height, width -> what the published configuration resizes to
PUBLISHED = {(480, 640): (800, 1067), (427, 640): (800, 1199), (640, 425): (1205, 800), (375, 1242): (402, 1333)}


@pytest.mark.parametrize("size", PUBLISHED)
def test_published_sizes(size):
    assert fitted_size(size, (1333, 800)) == PUBLISHED[size]


def test_one_side_fits_and_none_is_lost():
    for height in (1, 2, 31, 800, 4999):
        for width in (1, 33, 1333, 5000):
            new = fitted_size((height, width), (1333, 800))
            assert min(new) >= 1
            assert max(new) <= 1333
            assert min(new) <= 800
            assert min(new) == 800 or max(new) == 1333


def transform(**kwargs) -> RoundedResize:
    return RoundedResize(64, 100, [0.5, 0.5, 0.5], [0.25, 0.25, 0.25], **kwargs)


def test_batches_are_normalised_resized_and_padded_to_32():
    images = [torch.full((3, 33, 47), 0.75), torch.full((3, 80, 20), 0.25)]
    batch, _ = transform().eval()(images)
    assert batch.image_sizes == [(64, 91), (100, 25)]
    assert batch.tensors.shape == (2, 3, 128, 96)
    for image, (height, width), value in zip(batch.tensors, batch.image_sizes, (1.0, -1.0), strict=True):
        torch.testing.assert_close(image[:, :height, :width], torch.full((3, height, width), value))
        assert not image[:, height:].any()
        assert not image[:, :, width:].any()


def test_targets_are_resized_along():
    mask = torch.zeros(2, 20, 30, dtype=torch.bool)
    mask[0, 5:10, 6:21] = True
    target = {"boxes": torch.tensor([[6.0, 5.0, 21.0, 10.0], [0.0, 0.0, 30.0, 20.0]]), "masks": mask}
    batch, (resized,) = transform()([torch.rand(3, 20, 30)], [target])
    assert batch.image_sizes == [(64, 96)]
    torch.testing.assert_close(resized["boxes"], torch.tensor([[19.2, 16.0, 67.2, 32.0], [0.0, 0.0, 96.0, 64.0]]))
    rows, columns = torch.where(resized["masks"][0])
    assert resized["masks"].shape == (2, 64, 96)
    assert (rows.min().item(), rows.max().item(), columns.min().item(), columns.max().item()) == (16, 31, 20, 67)
    assert target["boxes"][0, 0] == 6  # the user's is left alone


def test_an_image_without_objects():
    target = {"boxes": torch.zeros(0, 4), "masks": torch.zeros(0, 20, 30, dtype=torch.uint8)}
    _, (resized,) = transform()([torch.rand(3, 20, 30)], [target])
    assert resized["masks"].shape == (0, 64, 96)


def test_training_may_take_images_as_they_come():
    images = [torch.rand(3, 50, 70)]
    as_is = transform(resize_in_training=False)
    assert as_is(images)[0].image_sizes == [(50, 70)]
    assert as_is.eval()(images)[0].image_sizes == [(64, 90)]


def test_training_draws_the_short_side():
    drawn = RoundedResize([32, 48, 64], 200, [0.5], [0.5])
    sizes = {drawn([torch.rand(1, 40, 40)])[0].image_sizes[0] for _ in range(40)}
    assert sizes == {(32, 32), (48, 48), (64, 64)}
    assert drawn.eval()([torch.rand(1, 40, 40)])[0].image_sizes == [(64, 64)]


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
