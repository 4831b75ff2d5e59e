import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

import gpvit
from gpvit.data.synthetic.scenes import digit_scene
from gpvit.errors import UserError
from gpvit.inference.inferers import SlidingWindow, WholeImage
from gpvit.inference.windows import find_in_windows


def bright_spots(images):
    """A stand-in that sees no farther than an object: boxes of connected pixels; red is class 1, green class 2."""
    found = []
    for image in images:
        boxes, labels, scores = [], [], []
        for label, channel in ((1, 0), (2, 1)):
            regions, _ = ndimage.label(image[channel].numpy() > 0)
            for rows, columns in ndimage.find_objects(regions):
                boxes.append([columns.start, rows.start, columns.stop, rows.stop])
                labels.append(label)
                scores.append(float(image[channel, rows, columns].max()) * (0.5 + (rows.stop - rows.start) / 1000))
        found.append(
            {
                "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
                "labels": torch.tensor(labels, dtype=torch.int64),
                "scores": torch.tensor(scores, dtype=torch.float32),
                "masks": torch.ones(len(boxes), 1, 2, 2),
            }
        )
    return found


def rows_of(found):
    return sorted((*box, label) for box, label in zip(found["boxes"].tolist(), found["labels"].tolist(), strict=True))


@pytest.mark.parametrize("seed", range(8))
def test_objects_smaller_than_the_overlap_are_found_once_and_whole(seed):
    random = np.random.default_rng(seed)
    image = torch.zeros(3, *random.integers(40, 400, 2).tolist())
    for _ in range(30):
        height, width = random.integers(3, 24, 2)
        top, left = random.integers(0, image.shape[1] - height + 1), random.integers(0, image.shape[2] - width + 1)
        image[random.integers(2), top : top + height, left : left + width] = float(random.uniform(0.5, 1))
    whole = bright_spots([image])[0]
    sides = whole["boxes"][:, 2:] - whole["boxes"][:, :2]
    found = find_in_windows(bright_spots, image, 128, 0.5)
    assert found["scores"].tolist() == sorted(found["scores"].tolist(), reverse=True)
    assert len(found["masks"]) == len(found["boxes"])
    boxes = torch.cat([whole["boxes"], whole["labels"][:, None]], 1)
    small = map(tuple, boxes[sides.amax(1) < 60].tolist())
    assert set(small) <= set(rows_of(found))
    assert len(rows_of(found)) == len(set(rows_of(found)))
    if (sides < 60).all():
        assert rows_of(found) == rows_of(whole)


def test_an_object_larger_than_a_window_is_not_lost():
    image = torch.zeros(3, 64, 300)
    image[0, 20:40, 10:290] = 1
    found = find_in_windows(bright_spots, image, 64, 0.25)
    assert found["boxes"][:, 0].min() == 10
    assert found["boxes"][:, 2].max() == 290


def test_an_image_within_one_window_is_looked_at_whole():
    image = torch.zeros(3, 50, 60)
    image[0, 0:9, 50:60] = 1  # at the image's border, which cuts nothing that a window could show
    assert rows_of(find_in_windows(bright_spots, image, 64, 0.25)) == rows_of(bright_spots([image])[0])
    assert len(find_in_windows(bright_spots, torch.zeros(3, 99, 99), 32, 0)["boxes"]) == 0


def test_detectors_take_windows_and_nothing_else():
    scene = digit_scene("test", 0, size=(96, 160))
    torch.manual_seed(0)
    model = gpvit.create_model("retinanet_gpvit_nano", num_classes=10, channels=16, min_size=64).eval()
    result = gpvit.Predictor(model, inferer=SlidingWindow(64, 0.25))(Image.fromarray(scene.image))
    assert result.size == (96, 160)
    assert (result.boxes >= 0).all()
    assert (result.boxes <= torch.tensor([160, 96, 160, 96])).all()
    for inferer in (WholeImage(), SlidingWindow(64, flip=True)):
        with pytest.raises(UserError, match="RetinaNet finds objects in whole images or in windows; leave out"):
            gpvit.Predictor(model, inferer=inferer)


def photograph_of_trees(height, width):
    """Spots of 8 to 59 pixels, none of which touches another."""
    random, image = np.random.default_rng(5), torch.zeros(3, height, width)
    for top in range(0, height - 70, 70):
        for left in range(0, width - 70, 70):
            rows, columns = random.integers(8, 60, 2)
            image[0, top : top + rows, left : left + columns] = float(random.uniform(0.5, 1))
    return image


def test_windows_find_what_the_whole_image_shows_where_both_see_all():
    image = photograph_of_trees(700, 900)
    whole = bright_spots([image])[0]
    found = find_in_windows(bright_spots, image, 256, 0.25)
    assert rows_of(found) == rows_of(whole)
    torch.testing.assert_close(found["scores"], whole["scores"].sort(descending=True).values)
