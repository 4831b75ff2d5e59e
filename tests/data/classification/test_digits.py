import pytest
import torch
from PIL import Image
from torch.utils.data import default_collate

from gpvit.data.classification.digits import Digits, random_affine
from gpvit.data.synthetic.digits import digits_split
from gpvit.runtime.images import read_image


@pytest.fixture(scope="module")
def digits():
    module = Digits()
    module.setup("fit")
    return module


def epoch(module, seed):
    torch.manual_seed(seed)
    images, labels = zip(*module.train_dataloader(), strict=True)
    return torch.cat(images), torch.cat(labels)


def test_facts_are_known_before_setup():
    module = Digits(image_size=48)
    assert module.class_names == tuple("0123456789")
    assert module.num_classes == 10
    assert module.preprocessing.input_size == (1, 48, 48)
    with pytest.raises(RuntimeError, match="setup"):
        module.train_dataloader()


def test_batches(digits):
    images, labels = next(iter(digits.train_dataloader()))
    assert images.shape == (64, 1, 64, 64)
    assert images.dtype == torch.float32
    assert labels.shape == (64,)
    assert labels.dtype == torch.int64
    for loader in (digits.val_dataloader(), digits.test_dataloader()):
        labels = torch.cat([labels for _, labels in loader])
        assert torch.equal(labels, torch.from_numpy(digits_split("test")[1]))


def test_training_digits_are_normalised(digits):
    images = digits.train_set.tensors[0]
    assert abs(images.mean()) < 0.01
    assert abs(images.std() - 1) < 0.01


def test_prediction_sees_what_evaluation_saw(digits, tmp_path):
    transform = digits.preprocessing.transform()
    for index, raw in enumerate(digits_split("test")[0][:10]):
        Image.fromarray(raw).save(tmp_path / "digit.png")
        assert torch.equal(transform(read_image(tmp_path / "digit.png")), digits.val_set[index][0])


def test_training_batches_repeat_by_seed(digits):
    first, again, other = epoch(digits, 0), epoch(digits, 0), epoch(digits, 1)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])


def test_a_batch_may_hold_the_whole_split():
    module = Digits(image_size=8, batch_size=5000, rotation_degrees=0, shift=0, zoom=0)
    module.setup()
    images, labels = epoch(module, 0)
    assert len(images) == 1297
    assert sorted(labels.tolist()) == sorted(digits_split("train")[1].tolist())
    stored = {image.numpy().tobytes() for image in module.train_set.tensors[0]}
    assert stored == {image.numpy().tobytes() for image in images}, "without augmentation nothing changes"


def test_no_augmentation_is_the_identity(digits):
    images, _ = default_collate([digits.val_set[i] for i in range(32)])
    torch.testing.assert_close(random_affine(images, 0, 0, 0), images, rtol=0, atol=1e-4)


def test_augmentation_moves_each_image_within_its_bounds():
    size, black = 65, -0.31 / 0.35
    dots = torch.full((200, 1, size, size), black)
    dots[:, :, 32, 52] = 1000.0  # 20 pixels right of the centre
    torch.manual_seed(0)
    rows, columns = torch.meshgrid(torch.arange(size) - 32.0, torch.arange(size) - 32.0, indexing="ij")

    def centres(**amounts):
        weight = (random_affine(dots, **amounts) - black)[:, 0]
        total = weight.sum((1, 2))
        return (weight * rows).sum((1, 2)) / total, (weight * columns).sum((1, 2)) / total

    y, x = centres(rotation_degrees=30, shift=0, zoom=0)
    angle = torch.rad2deg(torch.atan2(y, x))
    torch.testing.assert_close(torch.hypot(x, y), torch.full((200,), 20.0), rtol=0.03, atol=0)
    assert 25 < angle.max() < 32
    assert -32 < angle.min() < -25

    y, x = centres(rotation_degrees=0, shift=0.1, zoom=0)
    assert x.sub(20).abs().max() < 7.2
    assert y.abs().max() < 7.2
    assert min(x.std(), y.std()) > 2.5

    y, x = centres(rotation_degrees=0, shift=0, zoom=0.2)
    assert 15.7 < x.min() < 17.5
    assert 22.5 < x.max() < 24.3
    assert y.abs().max() < 0.1


def test_what_comes_in_at_the_border_is_black():
    black = -0.31 / 0.35
    moved = random_affine(torch.full((50, 1, 16, 16), black), 20, 0.3, 0.3)
    torch.testing.assert_close(moved, torch.full_like(moved, black))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size 0"),
        ({"num_workers": -1}, "num_workers -1"),
        ({"zoom": 1.0}, "zoom 1.0"),
        ({"shift": -0.1}, "shift -0.1"),
        ({"image_size": 0}, "input_size"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        Digits(**options)
