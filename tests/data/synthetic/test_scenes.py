import hashlib
import subprocess
import sys

import numpy as np
import pytest

from gpvit.data.synthetic.digits import digits_split
from gpvit.data.synthetic.photographs import photograph_names
from gpvit.data.synthetic.render import PHOTOGRAPHS, draw
from gpvit.data.synthetic.scenes import LEAST_VISIBLE, digit_scene

FINGERPRINT = """
from gpvit.data.synthetic.scenes import digit_scene
import hashlib
scene = digit_scene("test", 41, seed=3)
print(hashlib.sha256(b"".join(getattr(scene, name).tobytes() for name in vars(scene))).hexdigest())
"""


def fingerprint(scene):
    return hashlib.sha256(b"".join(value.tobytes() for value in vars(scene).values())).hexdigest()


@pytest.fixture(scope="module")
def scenes():
    shapes = [(128, 128), (96, 160), (61, 200), (256, 192)]
    return [
        digit_scene(split, index, seed=7, size=shapes[index % 4]) for split in ("train", "test") for index in range(300)
    ]


def test_shapes_and_types(scenes):
    for scene in scenes:
        size, count = scene.labels.shape, len(scene.digits)
        assert 1 <= count <= 8
        for name, shape, kind in [
            ("image", (*size, 3), np.uint8),
            ("labels", size, np.uint8),
            ("masks", (count, *size), np.bool_),
            ("boxes", (count, 4), np.float32),
            ("digits", (count,), np.int64),
            ("visible", (count,), np.float32),
        ]:
            value = getattr(scene, name)
            assert value.shape == shape
            assert value.dtype == kind


def test_labels_are_the_masks_of_the_digits(scenes):
    for scene in scenes:
        assert scene.masks.sum(0).max() == 1, "no two masks overlap"
        assert np.array_equal((scene.masks * (1 + scene.digits)[:, None, None]).sum(0), scene.labels)


def test_boxes_are_tight(scenes):
    for scene in scenes:
        for mask, (left, top, right, bottom) in zip(scene.masks, scene.boxes.astype(int), strict=True):
            assert mask.sum() == mask[top:bottom, left:right].sum() > 0
            inside = mask[top:bottom, left:right]
            assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))


def test_every_digit_and_every_degree_of_hiding_occurs(scenes):
    assert set(np.concatenate([scene.digits for scene in scenes])) == set(range(10))
    visible = np.concatenate([scene.visible for scene in scenes])
    assert LEAST_VISIBLE <= visible.min() < 0.35
    assert visible.max() == 1
    assert 0.4 < (visible == 1).mean() < 0.8


def test_sizes_span_their_range():
    heights = []
    for index in range(200):
        scene = digit_scene("train", index, size=(200, 200), digits=(1, 1))
        assert len(scene.digits) == 1
        if scene.visible[0] == 1:
            heights.append(scene.boxes[0, 3] - scene.boxes[0, 1])
    assert 8 <= min(heights) < 14
    assert 55 < max(heights) <= 1.35 * 60, "a turned digit is higher than an upright one"


def test_only_the_digits_of_a_scene_leave_a_trace_on_its_photograph():
    for index in range(40):
        crowded, sparse = (digit_scene("test", index, digits=count) for count in ((40, 40), (1, 1)))
        assert len(crowded.digits) < 40, "some are left out"
        near = crowded.masks.any(0) | sparse.masks.any(0)
        for _ in range(2):  # the soft border of the ink
            near = np.pad(near, 1)
            near = near[1:-1, 1:-1] | near[:-2, 1:-1] | near[2:, 1:-1] | near[1:-1, :-2] | near[1:-1, 2:]
        differs = (crowded.image != sparse.image).any(-1)
        assert (differs & ~near).mean() < 1e-3, "nothing but some faint ink"
        assert differs.mean() > 0.02


@pytest.mark.parametrize("split", ["train", "test"])
def test_ink_is_told_from_what_is_around_it(split):
    contrasts = []
    for index in range(100):
        scene = digit_scene(split, index, digits=(1, 1), digit_size=(20, 60))
        brightness = scene.image @ np.array([0.299, 0.587, 0.114])
        left, top, right, bottom = scene.boxes[0].astype(int)
        ink = scene.masks[0, top:bottom, left:right]
        box = brightness[top:bottom, left:right]
        contrasts.append(abs(np.median(box[ink]) - np.median(box[~ink])))
    # The few low ones are where a photograph is bright and dark in one box; there the hue tells.
    assert np.quantile(contrasts, 0.1) > 40
    assert np.median(contrasts) > 80


@pytest.mark.slow
def test_scenes_repeat_in_any_order_and_process():
    forwards = [fingerprint(digit_scene("test", index, seed=3)) for index in range(38, 44)]
    backwards = [fingerprint(digit_scene("test", index, seed=3)) for index in reversed(range(38, 44))]
    assert forwards == backwards[::-1]
    elsewhere = subprocess.run([sys.executable, "-c", FINGERPRINT], capture_output=True, text=True, check=True)
    assert elsewhere.stdout.strip() == forwards[3]


def test_global_random_state_is_neither_read_nor_moved():
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    first = fingerprint(digit_scene("train", 0))
    assert np.array_equal(before, np.random.get_state()[1])
    np.random.seed(1)
    assert fingerprint(digit_scene("train", 0)) == first


def test_split_seed_and_index_each_give_other_scenes():
    prints = {
        fingerprint(digit_scene(split, index, seed))
        for split in ("train", "test")
        for index in range(5)
        for seed in range(5)
    }
    assert len(prints) == 50


def test_the_splits_share_neither_photographs_nor_digits():
    assert not set(PHOTOGRAPHS["train"]) & set(PHOTOGRAPHS["test"])
    assert set(PHOTOGRAPHS["train"]) | set(PHOTOGRAPHS["test"]) == set(photograph_names())
    (train, _), (test, _) = digits_split("train"), digits_split("test")
    assert not {image.tobytes() for image in train} & {image.tobytes() for image in test}


@pytest.mark.parametrize("height", [8, 10, 60])
def test_every_stored_digit_can_be_drawn_at_every_size(height):

    rasters = np.concatenate([digits_split(split)[0] for split in ("train", "test")])
    parts = np.array([(draw(raster, height, 0.4) >= 0.5).sum() for raster in rasters]) / height**2
    assert parts.min() > 0.08
    assert parts.max() < 0.6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "val"}, "'val': choose 'train' or 'test'"),
        ({"digits": (0, 3)}, r"digits \(0, 3\)"),
        ({"digits": (3, 2)}, r"digits \(3, 2\)"),
        ({"digit_size": (5, 60)}, "from 8 pixels"),
        ({"digit_size": (10, 130)}, "to 128"),
        ({"digit_size": (30, 20)}, "in this order"),
        ({"index": -1}, "index -1"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        digit_scene(**{"split": "train", "index": 0, **options})
