import numpy as np
import pytest

from gpvit.data.key_scenes import FRAME, IGNORED, key_scene


@pytest.fixture(scope="module")
def scenes():
    return [key_scene("train", index) for index in range(60)]


def test_labels_are_the_ink_of_the_digits_that_equal_the_key(scenes):
    for scene in scenes:
        wanted = scene.masks[scene.wanted].any(0) if scene.wanted.any() else np.zeros_like(scene.labels, dtype=bool)
        assert np.array_equal(scene.labels == 1, wanted)
        frame = scene.labels == IGNORED
        assert frame.sum() == FRAME**2
        assert frame[[0, 0, -1, -1], [0, -1, 0, -1]].sum() == 1  # one corner
        assert not (scene.masks.any(0) & frame).any()
        assert scene.masks.sum(0).max() <= 1


def test_nothing_but_the_key_tells_which_kind_is_wanted(scenes):
    counts = np.array([(scene.wanted.sum(), (~scene.wanted).sum()) for scene in scenes])
    assert np.abs(counts[:, 0] - counts[:, 1]).max() <= 3  # those that found no place are missing
    assert abs((counts[:, 0] - counts[:, 1]).mean()) < 0.3
    assert counts.min() >= 1
    for scene in scenes:
        assert len(set(scene.digits[~scene.wanted])) == 1
    assert len({scene.key for scene in scenes}) == 10


def test_distances_are_between_middles(scenes):
    for scene in scenes:
        frame = np.argwhere(scene.labels == IGNORED)
        middle = (frame.min(0) + frame.max(0)) / 2
        for mask, distance in zip(scene.masks, scene.distances, strict=True):
            ink = np.argwhere(mask)
            assert distance == pytest.approx(np.linalg.norm((ink.min(0) + ink.max(0)) / 2 - middle), abs=1e-4)
    assert max(scene.distances.max() for scene in scenes) > 100


def test_scenes_repeat_and_differ():
    first, again = key_scene("test", 3), key_scene("test", 3)
    assert np.array_equal(first.image, again.image)
    others = [key_scene("test", 4), key_scene("test", 3, seed=1), key_scene("train", 3)]
    assert all(not np.array_equal(first.image, other.image) for other in others)


def test_too_small_a_scene():
    with pytest.raises(ValueError, match=r"size \(64, 96\): a side needs 28 pixels for the frame"):
        key_scene("train", 0, size=(64, 96))
