from itertools import combinations

import numpy as np
import pytest
from PIL import Image, ImageFont

from gpvit.data.detection.drawing import _FONT, _spots, draw_boxes

RED, BLUE = (255, 0, 0), (0, 0, 255)


def test_boxes_masks_and_labels_in_their_colours():
    mask = np.zeros((100, 200), bool)
    mask[60:80, 130:150] = True
    picture = Image.new("RGB", (200, 100), (100, 100, 100))
    masks = [np.zeros_like(mask), mask]
    drawn = np.asarray(draw_boxes(picture, [(10, 30, 60, 90), (120, 50, 160.4, 90)], ["a", "b"], [RED, BLUE], masks))
    assert picture.getcolors() == [(200 * 100, (100, 100, 100))]
    for (left, top, right, bottom), color in (((10, 30, 60, 90), RED), ((120, 50, 160, 90), BLUE)):
        for row, column in ((top, right - 1), (bottom - 1, left), (bottom - 1, right - 1)):
            assert tuple(drawn[row, column]) == color
        assert (drawn[bottom, left:right] == 100).all()
        assert (drawn[top:bottom, right] == 100).all()
        assert tuple(drawn[top - 2, left]) == color  # the label's
        assert (drawn[top + 3 : bottom - 3, left + 3 : right - 3] != 100).any() == (color == BLUE)
    inside = drawn[62:78, 132:148].reshape(-1, 3)
    assert (inside == inside[0]).all()
    assert inside[0][2] > 150 > 100 > inside[0][0] == inside[0][1]


def test_the_first_is_on_top():
    boxes, whole = [(20, 40, 80, 80)] * 2, np.ones((100, 100), bool)
    drawn = draw_boxes(Image.new("RGB", (100, 100)), boxes, ["", ""], [RED, BLUE], [whole & False, whole & False])
    assert drawn.getpixel((20, 79)) == RED


def test_labels_keep_within_the_picture_and_off_each_other():
    rng = np.random.default_rng(0)
    font = ImageFont.truetype(_FONT, 13)
    height = sum(font.getmetrics())
    for _ in range(50):
        size = tuple(int(side) for side in rng.integers(60, 500, 2))
        corners = rng.uniform(-10, 500, (6, 2, 2))
        boxes = np.concatenate([corners.min(1), corners.max(1)], axis=1) % [*size, *size]
        boxes[:, 2:] = np.maximum(boxes[:, :2], boxes[:, 2:])
        widths = rng.integers(5, 55, 6).tolist()
        spots = _spots(boxes.tolist(), widths, font, size)
        for (left, top, right, bottom), width in zip(spots, widths, strict=True):
            assert (right - left, bottom - top) == (width, height)
            assert left >= 0 <= top
            assert right <= size[0]
            assert bottom <= size[1]
    same = _spots([(50, 50, 90, 120)] * 4, [60] * 4, font, (200, 200))
    assert [top for _, top, _, _ in same] == [50 - height, 50, 120 - height, 120]
    for one, other in combinations(same, 2):
        assert one[3] <= other[1] or other[3] <= one[1]


@pytest.mark.parametrize("size", [(5000, 1), (1, 5000), (1, 1), (3, 2), (4000, 3000)])
def test_any_size(size):
    width, height = size
    boxes = [(0, 0, width, height), (width, height, width, height), (-5, -5, 0.2, 0.2)]
    drawn = draw_boxes(Image.new("RGB", size), boxes, ["Größe 猫", "", "c"], [RED, BLUE, RED])
    assert drawn.size == size
    assert draw_boxes(drawn, [], [], []).tobytes() == drawn.tobytes()
