"""Resizing, padding and batching, against the code's sizes."""

import pytest
import torch

from gpvit.models.detection.transform import RoundedResize, fitted_size

# height, width -> what the published configuration resizes to
PUBLISHED = {(480, 640): (800, 1067), (427, 640): (800, 1199), (640, 425): (1205, 800), (375, 1242): (402, 1333)}


@pytest.mark.parametrize("size", PUBLISHED)
def test_published_sizes(size):
    assert fitted_size(size, 800, 1333) == PUBLISHED[size]


def test_one_side_fits_and_none_is_lost():
    for height in (1, 2, 31, 800, 4999):
        for width in (1, 33, 1333, 5000):
            new = fitted_size((height, width), 800, 1333)
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
    as_is = transform(_skip_resize=True)
    assert as_is(images)[0].image_sizes == [(50, 70)]
    assert as_is.eval()(images)[0].image_sizes == [(64, 90)]


def test_training_draws_the_short_side():
    drawn = RoundedResize([32, 48, 64], 200, [0.5], [0.5])
    sizes = {drawn([torch.rand(1, 40, 40)])[0].image_sizes[0] for _ in range(40)}
    assert sizes == {(32, 32), (48, 48), (64, 64)}
    assert drawn.eval()([torch.rand(1, 40, 40)])[0].image_sizes == [(64, 64)]
