import numpy as np
import pytest

from gpvit.data.segmentation import KeyScenes
from gpvit.data.synthetic.key_scenes import key_scene


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
