import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from gpvit.data.colors import class_colors, distinct_colours


@pytest.mark.parametrize(("count", "least"), [(8, 25), (16, 12), (64, 6)])
def test_colours_are_told_apart(count, least):
    colours = np.array(distinct_colours(count))
    assert colours.shape == (count, 3)
    assert colours.min() >= 0
    assert colours.max() <= 1
    lab = rgb2lab(colours)
    distance = deltaE_ciede2000(lab[:, None], lab[None])[~np.eye(count, dtype=bool)]
    assert distance.min() > least  # 2 is just noticeable


def test_a_longer_list_starts_like_a_shorter_one():
    assert distinct_colours(40)[:7] == distinct_colours(7)


def test_class_colours_are_the_same_in_bytes():
    np.testing.assert_allclose(np.array(class_colors(9)) / 255, distinct_colours(9), atol=0.5 / 255 + 1e-9)
    assert all(isinstance(value, int) for color in class_colors(9) for value in color)
