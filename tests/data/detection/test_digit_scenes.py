import numpy as np
import pytest
import torch

from gpvit.data.detection import DigitScenes
from gpvit.data.synthetic.scenes import digit_scene


def scenes(**options):
    return DigitScenes(**{"train_scenes": 6, "test_scenes": 3, "batch_size": 2, **options})


def test_targets_are_those_of_the_scenes():
    data = scenes(seed=4)
    assert data.class_names == tuple("0123456789")
    assert data.categories.ids == tuple(range(10))
    data.setup("validate")
    pairs = [pair for batch in data.val_dataloader() for pair in zip(*batch, strict=True)]
    assert len(pairs) == 3
    for index, (image, target) in enumerate(pairs):
        scene = digit_scene("test", index, seed=4)
        assert target["image_id"] == index
        assert torch.equal((image * 255).round().byte(), torch.from_numpy(scene.image).permute(2, 0, 1))
        assert target["labels"].tolist() == [digit + 1 for digit in scene.digits]
        assert (target["boxes"].numpy() == scene.boxes).all()
        assert (target["masks"].numpy() == scene.masks).all()
        assert target["area"].tolist() == scene.masks.sum((1, 2)).tolist()


def test_training_keeps_scenes_as_drawn():
    data = scenes(image_size=96, digits=(1, 3), digit_size=(10, 50))
    data.setup("fit")
    seen = {}
    for images, targets in data.train_dataloader():
        assert all(image.shape == (3, 96, 96) for image in images)
        seen |= {target["image_id"]: target for target in targets}
    assert set(seen) == set(range(6))
    for index, target in seen.items():
        scene = digit_scene("train", index, size=(96, 96), digits=(1, 3), digit_size=(10, 50))
        assert (target["masks"].numpy() == scene.masks).all()


def test_without_masks():
    data = scenes(masks=False)
    data.setup("fit")
    _, targets = next(iter(data.train_dataloader()))
    assert "masks" not in targets[0]
    assert all(np.isin(target["labels"], range(1, 11)).all() for target in targets)


def test_impossible_numbers():
    with pytest.raises(ValueError, match="train_scenes 0"):
        scenes(train_scenes=0)
    with pytest.raises(ValueError, match="digit_size"):
        scenes(digit_size=(60, 10))


def test_training_may_be_fuller():
    scenes = DigitScenes(64, 4, 4, digits=(1, 1), train_digits=(6, 6), seed=1)
    objects = {split: [len(scenes.samples(split)[i].objects.boxes) for i in range(4)] for split in ("train", "val")}
    assert max(objects["val"]) == 1 < min(objects["train"])
