from itertools import combinations

import numpy as np
import pytest
import torch
from PIL import Image, ImageFont

from gpvit.data import visualise
from gpvit.data.detection import DigitScenes as DetectionScenes
from gpvit.data.segmentation import DigitScenes

RED, BLUE = (200, 0, 0), (0, 0, 220)


def test_an_overlay_mixes_colours_with_the_image_and_darkens_what_has_no_class():
    image = Image.new("RGB", (4, 2), (100, 100, 100))
    labels = np.array([[0, 1, 255, 0], [1, 1, 255, 7]])
    drawn = np.asarray(visualise.overlay_labels(image, labels, (RED, BLUE), alpha=0.5), int)
    for label, expected in ((0, (150, 50, 50)), (1, (50, 50, 160)), (255, (30, 30, 30)), (7, (30, 30, 30))):
        assert np.abs(drawn[labels == label] - expected).max() <= 1
    assert visualise.overlay_labels(image, labels % 2, (RED, BLUE), alpha=0).tobytes() == image.tobytes()


def test_more_classes_than_a_byte_holds():
    colors = [(index % 256, index // 256, 0) for index in range(400)]
    labels = np.arange(400).reshape(20, 20)
    drawn = np.asarray(visualise.overlay_labels(Image.new("RGB", (20, 20)), labels, colors, alpha=1))
    assert np.array_equal(drawn.reshape(-1, 3), colors)


@pytest.mark.parametrize("width", [1, 60, 320, 2000])
@pytest.mark.parametrize("names", [[], ["a"], ["cat", "x" * 500, "Größe"], [str(index) for index in range(150)]])
def test_a_legend_has_every_colour_and_its_own_width(width, names):
    colors = [(index, 90, 255 - index) for index in range(len(names))]
    drawn = visualise.legend(list(zip(names, colors, strict=True)), width)
    assert drawn.width == width
    if width > 1:
        shown = {color for _, color in drawn.getcolors(drawn.width * drawn.height)}
        assert set(colors) <= shown
        assert drawn.height <= 24 * (len(names) + 1)


@pytest.mark.parametrize("size", [(3000, 2000), (30, 20)])
def test_a_legend_below_an_image_leaves_it_as_it_is(size):
    image = Image.effect_noise(size, 50).convert("RGB")
    whole = visualise.with_legend(image, [("cat", RED), ("dog", BLUE)])
    assert whole.crop((0, 0, *size)).tobytes() == image.tobytes()
    assert whole.width >= 320


def test_boxes_masks_and_labels_stand_where_they_belong():
    image = Image.new("RGB", (200, 100), (100, 100, 100))
    masks = [np.zeros((100, 200), bool) for _ in range(2)]
    masks[1][60:80, 130:150] = True
    boxes = [(10, 30, 60, 90), (120, 50, 160.4, 90)]
    drawn = np.asarray(visualise.draw_boxes(image, boxes, ["a", "b"], masks=masks, colors=[RED, BLUE]))
    assert image.getcolors() == [(200 * 100, (100, 100, 100))]
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


def test_the_first_is_on_top_and_classes_have_colours_of_their_own():
    boxes = [(20, 40, 80, 80)] * 2
    assert (
        visualise.draw_boxes(Image.new("RGB", (100, 100)), boxes, ["", ""], colors=[RED, BLUE]).getpixel((20, 79))
        == RED
    )
    boxes = [(2, 40, 30, 80), (110, 40, 160, 80), (210, 40, 290, 80)]
    drawn = visualise.draw_boxes(Image.new("RGB", (300, 100)), boxes, ["cat", "dog", "cat"], [0.9, 0.8, 0.7])
    corners = [drawn.getpixel((box[0], 79)) for box in boxes]
    assert corners[0] == corners[2] != corners[1]


def test_labels_keep_within_the_image_and_off_each_other():
    rng = np.random.default_rng(0)
    font = visualise._font(13, bold=True)
    height = sum(font.getmetrics())
    for _ in range(50):
        size = tuple(int(side) for side in rng.integers(60, 500, 2))
        corners = rng.uniform(-10, 500, (6, 2, 2))
        boxes = np.concatenate([corners.min(1), corners.max(1)], axis=1) % [*size, *size]
        boxes[:, 2:] = np.maximum(boxes[:, :2], boxes[:, 2:])
        widths = rng.integers(5, 55, 6).tolist()
        spots = visualise._spots(boxes.tolist(), widths, font, size)
        for (left, top, right, bottom), width in zip(spots, widths, strict=True):
            assert (right - left, bottom - top) == (width, height)
            assert left >= 0 <= top
            assert right <= size[0]
            assert bottom <= size[1]
    same = visualise._spots([(50, 50, 90, 120)] * 4, [60] * 4, font, (200, 200))
    assert [top for _, top, _, _ in same] == [50 - height, 50, 120 - height, 120]
    for one, other in combinations(same, 2):
        assert one[3] <= other[1] or other[3] <= one[1]


@pytest.mark.parametrize("size", [(5000, 1), (1, 5000), (1, 1), (3, 2), (1200, 900)])
def test_any_size(size):
    width, height = size
    boxes = [(0, 0, width, height), (width, height, width, height), (-5, -5, 0.2, 0.2)]
    drawn = visualise.draw_boxes(Image.new("RGB", size), boxes, ["Größe 猫", "", "c"])
    assert drawn.size == size
    assert visualise.draw_boxes(drawn, [], []).tobytes() == drawn.tobytes()
    image = torch.zeros(3, height, width)
    target = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    for sheet in (
        visualise.preview_detection([(image, target)], ["cat"], [RED]),
        visualise.preview_segmentation([(image, image[0].long())], ["cat"], [RED], [0.5], [0.5]),
        visualise.preview_classification([(image, 0)], ["cat"], [0.5], [0.5]),
    ):
        assert max(sheet.size) >= 320
        assert sheet.mode == "RGB"


def test_the_font_has_the_letters_of_class_names():
    assert isinstance(visualise._font(13), ImageFont.FreeTypeFont)
    assert visualise._font(13).getname()[0] == "DejaVu Sans"


def test_previews_leave_the_random_numbers_as_they_are_and_repeat():
    segmentation, detection = DigitScenes(64, 101, 1), DetectionScenes(64, 101, 1)
    for data in (segmentation, detection):
        data.setup("fit")
    image = torch.rand(1, 8, 8)
    state = torch.random.get_rng_state()
    normalisation = segmentation.preprocessing.mean, segmentation.preprocessing.std

    def draw():
        yield visualise.preview_segmentation(
            segmentation.train_set, segmentation.class_names, segmentation.colors, *normalisation
        )
        yield visualise.preview_detection(detection.train_set, detection.class_names, detection.colors, count=5)
        yield visualise.preview_classification([(image, 0)], ["cat"], [0.5], [0.5])

    sheets = list(draw())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [one.tobytes() for one in sheets[:2]] == [one.tobytes() for one in draw()][:2]
    assert sheets[1].size == (4 * 328 + 8, 2 * 328 + 8)
    assert sheets[1].getpixel((1000, 500)) == (255, 255, 255)  # five of eight places


def test_samples_are_taken_at_even_distances():
    class Samples(list):
        def __getitem__(self, index):
            asked.append(index)
            return super().__getitem__(index)

    asked: list[int] = []
    visualise.preview_classification(Samples([(torch.rand(3, 8, 8), 0)] * 101), ["a"], [0.5], [0.5], count=5)
    assert asked == [0, 25, 50, 75, 100]


def test_a_preview_undoes_the_normalisation_and_names_the_classes_that_occur():
    image = (torch.full((3, 40, 40), 0.4) - 0.5) / 0.25
    mask = torch.zeros(40, 40, dtype=torch.int64)
    mask[:, 20:] = 255
    sheet = visualise.preview_segmentation([(image, mask)], ["a", "b"], [RED, BLUE], [0.5], [0.25])
    shown = {color for _, color in sheet.getcolors(sheet.width * sheet.height)}
    assert (102, 102, 102) in shown
    assert {RED, visualise.IGNORED_COLOR} <= shown
    assert BLUE not in shown


def test_boxes_and_masks_of_a_preview_have_the_colours_of_their_classes():
    masks = torch.zeros(2, 100, 100, dtype=torch.uint8)
    masks[1, 15:30, 55:90] = 1
    boxes = torch.tensor([[10.0, 50, 50, 90], [50, 10, 95, 35]])
    target = {"boxes": boxes, "labels": torch.tensor([1, 2]), "masks": masks}
    sheet = visualise.preview_detection([(torch.full((3, 100, 100), 0.4), target)], ["cat", "dog"], (RED, BLUE))
    drawn = np.asarray(sheet)

    def near(column, row):
        x, y = round(3.2 * column), round(3.2 * row)
        return {tuple(color) for color in drawn[y - 3 : y + 4, x - 3 : x + 4].reshape(-1, 3).tolist()}

    assert near(5, 5) == {(102, 102, 102)} == near(30, 75)
    assert RED in near(50, 75)
    assert BLUE in near(94, 33)
    ((red, green, blue),) = near(75, 25)
    assert blue > 130 > 60 > red == green
