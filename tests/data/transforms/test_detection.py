import pytest
import torch
from torchvision import tv_tensors

from gpvit.data.transforms.detection import SCHEDULE_1X, SCHEDULE_3X, DetectionAugmentation, training_transform


def sample(height, width, boxes):
    """Objects that fill their boxes; each colours its pixels with its label."""
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    masks = torch.zeros(len(boxes), height, width, dtype=torch.uint8)
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    for label, (left, top, right, bottom) in enumerate(boxes.int().tolist(), start=1):
        masks[label - 1, max(top, 0) : bottom, max(left, 0) : right] = 1
        image[:, max(top, 0) : bottom, max(left, 0) : right] = 50 * label
    return tv_tensors.Image(image), {
        "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(height, width)),
        "labels": torch.arange(1, len(boxes) + 1),
        "masks": tv_tensors.Mask(masks),
        "area": torch.arange(len(boxes)) * 100.0,
        "iscrowd": torch.zeros(len(boxes), dtype=torch.int64),
        "image_id": 5,
    }


BOXES = [[20, 30, 110, 90], [150, 10, 190, 130], [100, 160, 290, 190], [230, 20, 270, 60]]


def assert_consistent(image, target):
    """Boxes, masks and pixels still tell of the same objects, each of its own label."""
    size = image.shape[-2:]
    assert target["boxes"].canvas_size == tuple(size)
    assert target["masks"].shape == (len(target["boxes"]), *size)
    assert len(target["labels"]) == len(target["area"]) == len(target["iscrowd"]) == len(target["boxes"])
    assert torch.equal(target["area"], (target["labels"] - 1) * 100.0)
    for box, label, mask in zip(target["boxes"], target["labels"], target["masks"], strict=True):
        left, top, right, bottom = box.tolist()
        assert 0 <= left < right <= size[1]
        assert 0 <= top < bottom <= size[0]
        rows, columns = torch.where(mask.bool())
        for edge, found in (
            (left, columns.min()),
            (right, columns.max() + 1),
            (top, rows.min()),
            (bottom, rows.max() + 1),
        ):
            assert abs(edge - found) <= 1.01
        inner = image[0, int(top) + 6 : int(bottom) - 6, int(left) + 6 : int(right) - 6]
        assert (inner == 50 * label).all()


@pytest.mark.parametrize(
    ("size", "expected"), [((200, 300), (800, 1200)), ((200, 400), (667, 1333)), ((640, 427), (1199, 800))]
)
def test_schedule_1x_fits_800_and_1333(size, expected):
    image, target = training_transform(SCHEDULE_1X)(*sample(*size, [[1, 2, 100, 150]]))
    assert image.shape[-2:] == expected
    assert target["masks"].shape[-2:] == expected


def test_objects_stay_with_their_labels():
    small = DetectionAugmentation(
        short_sides=(160, 200, 260), long_side=360, zoom_short_sides=(220, 300), zoom_crop=(90, 180), largest_side=240
    )
    transform = training_transform(small)
    counts = set()
    for seed in range(60):
        torch.manual_seed(seed)
        image, target = transform(*sample(200, 300, BOXES))
        assert_consistent(image, target)
        assert max(image.shape) <= 240
        counts.add(len(target["boxes"]))
    assert {1, 4} <= counts


def test_schedule_3x_varies_as_published():
    assert SCHEDULE_3X.short_sides == (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)
    transform = training_transform(SCHEDULE_3X)
    plain, zoomed = set(), 0
    for seed in range(40):
        torch.manual_seed(seed)
        image, target = transform(*sample(400, 500, [[0, 0, 500, 400]]))
        height, width = image.shape[-2:]
        assert height <= 1024
        assert width <= 1024
        ratio = width / height
        if abs(ratio - 1.25) < 0.01:
            plain.add(height)
        else:
            zoomed += 1
        assert target["boxes"].flatten().tolist() == pytest.approx([0, 0, width, height])
    assert plain <= set(SCHEDULE_3X.short_sides)
    assert len(plain) > 5
    assert zoomed > 8


def test_mirrored_half_of_the_time():
    transform = training_transform(DetectionAugmentation(short_sides=()))
    lefts = []
    for seed in range(100):
        torch.manual_seed(seed)
        image, target = transform(*sample(50, 100, [[10, 5, 30, 45]]))
        assert_consistent(image, target)
        lefts.append(target["boxes"][0, 0].item())
    assert set(lefts) == {10, 70}
    assert 30 < lefts.count(70) < 70


def test_objects_are_cut_off_and_dropped_at_the_border():
    transform = training_transform(DetectionAugmentation(short_sides=(), horizontal_flip=0))
    boxes = [[-10, -5, 20, 30], [60, 20, 130, 40], [99.5, 10, 140, 40]]  # the last has half a pixel inside
    _, target = transform(*sample(50, 100, boxes))
    assert target["boxes"].tolist() == [[0, 0, 20, 30], [60, 20, 100, 40]]
    assert target["labels"].tolist() == [1, 2]
    assert target["masks"].shape == (2, 50, 100)


def test_no_objects():
    for augmentation in (SCHEDULE_1X, SCHEDULE_3X):
        image, target = training_transform(augmentation)(*sample(60, 40, []))
        assert target["boxes"].shape == (0, 4)
        assert target["masks"].shape == (0, *image.shape[-2:])


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (1, 1)])
def test_lines_and_single_pixels(size):
    for seed in range(10):
        torch.manual_seed(seed)
        for augmentation in (SCHEDULE_1X, SCHEDULE_3X):
            image, target = training_transform(augmentation)(*sample(*size, [[0, 0, size[1], size[0]]]))
            assert min(image.shape[-2:]) >= 1
            assert len(target["boxes"]) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizontal_flip": 1.5}, "horizontal_flip 1.5: give a probability"),
        ({"short_sides": (800, 0)}, "a side of 0 pixels"),
        ({"short_sides": (1400,)}, "a side of 1400 pixels: .* long_side 1333"),
        ({"zoom_crop": (600, 384)}, r"zoom_crop \(600, 384\): give a fewest and a most"),
        ({"short_sides": (), "zoom_short_sides": (400,)}, "zoom_short_sides needs short_sides"),
    ],
)
def test_impossible_settings(options, message):
    with pytest.raises(ValueError, match=message):
        DetectionAugmentation(**options)
