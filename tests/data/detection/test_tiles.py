import pickle
from itertools import pairwise

import numpy as np
import pytest
import yaml
from PIL import Image

from gpvit.data.detection import ObjectFolder
from gpvit.data.detection.annotations import Objects
from gpvit.data.detection.module import Sample, Samples
from gpvit.data.detection.tiles import Tiles
from gpvit.data.windows import window_starts
from gpvit.errors import UserError


class One(Samples):
    """One image of 100 x 60 pixels, whose values tell the place, with three objects."""

    sizes = np.array([[60, 100]])

    def __len__(self):
        return 1

    def __getitem__(self, index):
        rows, columns = np.mgrid[:60, :100]
        image = Image.fromarray(np.stack([rows, columns, columns], -1).astype(np.uint8))
        masks = np.zeros((3, 60, 100), np.uint8)
        for mask, (left, top, right, bottom) in zip(masks, self.objects(0).boxes.astype(int), strict=True):
            mask[top:bottom, left:right] = 1
        return Sample(7, self.name(0), image, self.objects(0), masks)

    def name(self, index):
        return "one.png"

    def objects(self, index):
        boxes = np.array([[5, 5, 15, 15], [36, 10, 46, 20], [90, 50, 100, 60]], np.float32)
        return Objects(
            boxes, np.array([1, 2, 1]), np.array([50, np.nan, 9], np.float32), np.array([False, True, False])
        )


@pytest.mark.parametrize(("side", "window", "overlap"), [(100, 40, 0.25), (41, 40, 0.0), (40, 40, 0.9), (7, 40, 0.5)])
def test_windows_cover_a_side_and_overlap(side, window, overlap):
    starts = window_starts(side, window, overlap)
    assert starts[0] == 0
    assert starts[-1] == max(side - window, 0)
    assert all(0 < b - a <= max(1, window * (1 - overlap)) for a, b in pairwise(starts))


def test_tiles_hold_the_objects_of_which_half_is_inside():
    tiles = Tiles(One(), 40, 0.0)
    assert sorted(tiles.name(index) for index in range(len(tiles))) == [
        "one.png at 0, 0",
        "one.png at 30, 0",
        "one.png at 60, 20",
    ]
    assert tiles.sizes.tolist() == [[40, 40]] * 3
    by_name = {tile.name: tile for tile in (tiles[index] for index in range(len(tiles)))}
    first, second = by_name["one.png at 0, 0"], by_name["one.png at 30, 0"]
    assert first.objects.boxes.tolist() == [[5, 5, 15, 15]]  # of the second object, 4 of 10 columns are inside
    assert second.objects.boxes.tolist() == [[6, 10, 16, 20]]
    assert (second.objects.labels.tolist(), second.objects.crowds.tolist()) == ([2], [True])
    for tile in by_name.values():
        assert np.isnan(tile.objects.areas).all()
        for mask, box in zip(tile.masks, tile.objects.boxes, strict=True):
            assert mask.sum() == np.prod(box[2:] - box[:2])
        left = int(tile.name.split(" at ")[1].split(",")[0])
        assert np.asarray(tile.image)[0, 0, 1] == left
    assert pickle.loads(pickle.dumps(tiles))[0].name == tiles[0].name


def test_numbers_out_of_their_range_are_refused():
    for side, overlap in ((0, 0.25), (40, 1.0), (40, -0.1)):
        with pytest.raises(UserError, match="give 1 pixel or more, and a part from 0 to below 1"):
            Tiles(One(), side, overlap)
    with pytest.raises(UserError, match="no tile of 2 pixels shows 50% of an object"):
        Tiles(One(), 2)


def test_a_folder_trains_on_tiles_and_validates_on_whole_images(tmp_path):
    (tmp_path / "data.yaml").write_text(yaml.safe_dump({"names": ["tree"]}))
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (tmp_path / kind / split).mkdir(parents=True)
        Image.new("RGB", (200, 100)).save(tmp_path / "images" / split / "a.png")
        (tmp_path / "labels" / split / "a.txt").write_text("0 0.1 0.2 0.05 0.1\n0 0.9 0.9 0.05 0.1\n")
    data = ObjectFolder(tmp_path, masks=False, tile=64, tile_overlap=0.0, batch_size=1, num_workers=0)
    data.setup("fit")
    assert len(data.train_set) == 2
    assert [len(target["boxes"]) for _, targets in data.train_dataloader() for target in targets] == [1, 1]
    assert [image.shape for images, _ in data.val_dataloader() for image in images] == [(3, 100, 200)]
