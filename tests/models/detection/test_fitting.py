import pytest
import torch

from gpvit.models.detection.fitting import fit_and_pad
from gpvit.models.detection.inputs import RoundedResize


@pytest.mark.parametrize("size", [(33, 47), (80, 20), (64, 64), (1, 300)])
def test_does_as_the_detector_does_to_its_images(size):
    images = torch.rand(2, 3, *size)
    transform = RoundedResize(64, 100, [0.0] * 3, [1.0] * 3).eval()
    expected, _ = transform(list(images))
    padded, fitted = fit_and_pad(images, [64, 100])
    assert torch.equal(padded, expected.tensors)
    assert tuple(fitted.tolist()) == expected.image_sizes[0]


def test_keeps_the_size_where_no_sides_are_given():
    images = torch.rand(2, 3, 33, 64)
    padded, size = fit_and_pad(images, [])
    assert padded.shape == (2, 3, 64, 64)
    assert torch.equal(padded[:, :, :33], images)
    assert not padded[:, :, 33:].any()
    assert size.tolist() == [33, 64]
