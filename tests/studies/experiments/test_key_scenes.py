import pickle
from multiprocessing import get_context

import numpy as np
import pytest

from studies.experiments.key_scenes import FRAME, KeyScenes, key_scene


@pytest.fixture(scope="module")
def scenes():
    return [key_scene("train", index) for index in range(60)]


def test_labels_are_the_ink_of_the_key_and_of_the_digits_that_equal_it(scenes):
    for scene in scenes:
        outside = scene.masks[scene.targets].any(0) & ~scene.corner
        assert np.array_equal((scene.labels > 0) & ~scene.corner, outside)
        assert set(np.unique(scene.labels)) == {0, 1 + scene.key}
        assert (scene.labels[scene.corner] > 0).sum() > 20
        assert scene.image[scene.corner & (scene.labels > 0)].mean() < 90  # dark on white paper
        assert scene.corner.sum() == FRAME**2
        assert scene.corner[[0, 0, -1, -1], [0, -1, 0, -1]].sum() == 1  # one corner
        assert not (scene.masks.any(0) & scene.corner).any()
        assert scene.masks.sum(0).max() <= 1


def test_nothing_but_the_key_tells_which_kind_is_to_be_labelled(scenes):
    counts = np.array([(scene.targets.sum(), (~scene.targets).sum()) for scene in scenes])
    assert np.abs(counts[:, 0] - counts[:, 1]).max() <= 3  # those that found no place are missing
    assert abs((counts[:, 0] - counts[:, 1]).mean()) < 0.3
    assert counts.min() >= 1
    for scene in scenes:
        assert len(set(scene.digits[~scene.targets])) == 1
    assert len({scene.key for scene in scenes}) == 10


def test_distances_are_between_middles(scenes):
    for scene in scenes:
        frame = np.argwhere(scene.corner)
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


def test_kinds_of_digits_can_be_fewer():
    scenes = [key_scene("train", index, kinds=(0, 1, 3)) for index in range(12)]
    assert {scene.key for scene in scenes} == set(np.concatenate([scene.digits for scene in scenes])) == {0, 1, 3}
    with pytest.raises(ValueError, match=r"kinds \(4, 4\): give two or more different digits"):
        key_scene("train", 0, kinds=(4, 4))


def test_batches_are_scenes_with_their_labels():
    module = KeyScenes(image_size=96, train_scenes=5, test_scenes=3, kinds=(2, 7), seed=1, batch_size=3)
    module.setup("fit")
    assert module.class_names == ("other", *"0123456789")
    images, masks = next(iter(module.val_dataloader()))
    assert images.shape == (3, 3, 96, 96)
    for index, mask in enumerate(masks):
        scene = key_scene("test", index, seed=1, size=(96, 96), digits=(4, 8), kinds=(2, 7))
        assert np.array_equal(mask.numpy(), scene.labels)
        assert np.array_equal(module.scene("val", index).labels, scene.labels)
        assert scene.key in (2, 7)
    assert module.samples("train")[4].name == "keys_train_00004"


def test_a_size_that_is_no_whole_number_of_tokens():
    with pytest.raises(ValueError, match="image_size 100: give a multiple of 32"):
        KeyScenes(image_size=100)


def test_spawned_workers_need_nothing_of_the_data_module():
    module = KeyScenes(image_size=96, train_scenes=4, test_scenes=2, batch_size=2)
    module.setup("fit")
    module.trainer = (lock for lock in ())  # as a Trainer, it cannot be pickled
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(module)
    assert len(pickle.dumps(module.samples("train"))) < 1000


@pytest.mark.slow  # a fresh process imports everything
def test_spawned_workers_draw_the_same_scenes():
    module = KeyScenes(image_size=96, train_scenes=4, test_scenes=2)
    with get_context("spawn").Pool(1) as pool:
        sample = pool.apply(module.samples("val").__getitem__, (1,))
    assert np.array_equal(sample.mask, module.scene("val", 1).labels)
