import numpy as np
import pytest
import torch
from gpvit.data.detection.preview import draw_objects, preview_sheet

from gpvit.data.detection import CocoFolder, DigitScenes

COLORS = ((255, 0, 0), (0, 0, 255))


def target(boxes, labels, **more):
    return {"boxes": torch.tensor(boxes).reshape(-1, 4), "labels": torch.tensor(labels, dtype=torch.int64), **more}


def test_boxes_and_masks_in_the_colours_of_the_classes():
    masks = torch.zeros(2, 100, 100, dtype=torch.uint8)
    masks[1, 15:30, 55:90] = 1
    objects = target([[10.0, 50, 50, 90], [50, 10, 95, 35]], [1, 2], masks=masks)
    drawn = draw_objects(torch.full((3, 100, 100), 0.4), objects, ["cat", "dog"], COLORS)

    def near(column, row):
        y, x = (round(side * 384 / 100) for side in (row, column))
        return {tuple(color) for color in drawn[:, y - 3 : y + 4, x - 3 : x + 4].flatten(1).T.tolist()}

    assert near(5, 5) == {(102, 102, 102)} == near(30, 75)
    assert (255, 0, 0) in near(50, 75)
    assert (0, 0, 255) in near(94, 33)
    ((red, green, blue),) = near(75, 25)
    assert blue > 150 > 60 > red == green


@pytest.mark.parametrize("size", [(100, 200), (200, 100), (1, 5000), (5000, 1), (1, 1)])
def test_any_shape_and_no_object(size):
    drawn = draw_objects(torch.zeros(3, *size), target([], []), ["cat"], COLORS)
    assert drawn.shape == (3, 384, 384)
    assert (drawn == 0).any()


def test_sheet_of_what_training_sees(coco_root):
    data = CocoFolder(coco_root, masks=False, num_workers=0)
    with pytest.raises(RuntimeError, match="not set up"):
        preview_sheet(data)
    data.setup("fit")
    before = torch.random.get_rng_state()
    sheet = preview_sheet(data, count=5)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert sheet.size == (4 * (384 + 8) + 8, 2 * (384 + 8) + 8)
    assert np.asarray(sheet).tolist() == np.asarray(preview_sheet(data, count=5)).tolist()


def test_at_even_distances():
    class Watched(DigitScenes):
        def setup(self, stage=None):
            super().setup(stage)
            samples, self.seen = self.train_set.dataset, []
            draw = samples.pictures._scene
            samples.pictures._scene = lambda index: self.seen.append(index) or draw(index)

    data = Watched(train_scenes=101, test_scenes=1)
    data.setup("fit")
    preview_sheet(data, count=5)
    assert data.seen == [0, 25, 50, 75, 100]
