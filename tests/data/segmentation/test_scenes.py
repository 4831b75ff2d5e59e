import numpy as np
import pytest
import torch

from gpvit.data.segmentation import DigitScenes
from gpvit.data.synthetic.scenes import digit_scene


@pytest.fixture(scope="module")
def scenes():
    module = DigitScenes(image_size=96, train_scenes=21, test_scenes=11, batch_size=5, seed=2)
    module.setup("fit")
    return module


def test_facts_are_known_before_setup():
    module = DigitScenes(image_size=64)
    assert module.class_names == ("background", *"0123456789")
    assert module.num_classes == len(module.colors) == len(set(module.colors)) == 11
    assert module.colors[0] == (0, 0, 0)
    assert module.preprocessing.input_size == (3, 64, 64)
    assert module.preprocessing.max_size is None


def test_batches(scenes):
    for loader, count in ((scenes.train_dataloader(), 4), (scenes.val_dataloader(), 3), (scenes.test_dataloader(), 3)):
        batches = list(loader)
        assert len(batches) == count
        images, masks = batches[0]
        assert images.shape == (5, 3, 96, 96)
        assert images.dtype == torch.float32
        assert masks.shape == (5, 96, 96)
        assert masks.dtype == torch.int64
        assert masks.min() == 0
        assert masks.max() <= 10


@pytest.mark.parametrize(("split", "source", "digits"), [("train", "train", (3, 9)), ("val", "test", (1, 4))])
def test_samples_are_the_scenes_unchanged(scenes, split, source, digits):
    samples = getattr(scenes, f"{split}_set")
    mean, std = (
        torch.tensor(values)[:, None, None] for values in (scenes.preprocessing.mean, scenes.preprocessing.std)
    )
    for index in range(len(samples)):
        image, mask = samples[index]
        scene = digit_scene(source, index, seed=2, size=(96, 96), digits=digits)
        torch.testing.assert_close((image * std + mean) * 255, torch.from_numpy(scene.image).permute(2, 0, 1).float())
        assert np.array_equal(mask.numpy(), scene.labels)


def test_prediction_sees_what_validation_saw(scenes):
    transform = scenes.preprocessing.transform()
    samples = scenes.samples("val")
    assert len({sample.name for sample in samples}) == len(samples) == 11
    for index, sample in enumerate(samples):
        image, mask = scenes.val_set[index]
        assert torch.equal(transform(sample.image), image)
        assert np.array_equal(sample.mask, mask.numpy())


def test_training_order_changes_by_epoch_and_repeats_by_seed(scenes):
    def epoch(seed):
        torch.manual_seed(seed)
        loader = scenes.train_dataloader()
        return [torch.cat([masks for _, masks in loader]) for _ in range(2)]

    first, again = epoch(0), epoch(0)
    assert all(map(torch.equal, first, again))
    assert not torch.equal(*first)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 100}, "image_size 100: give a multiple of 32"),
        ({"train_scenes": 0}, "train_scenes 0"),
        ({"test_scenes": 0}, "test_scenes 0"),
        ({"batch_size": 0}, "batch_size 0"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        DigitScenes(**options)
