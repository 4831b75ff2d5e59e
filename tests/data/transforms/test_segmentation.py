import json
import pickle

import numpy as np
import pytest
import torch
from data.segmentation.folders import COLORS, draw_pair
from PIL import Image
from torchvision import tv_tensors

from gpvit.data.transforms.segmentation import (
    SegmentationAugmentation,
    SegmentationPreprocessing,
    largest_share,
    training_transform,
)

PLAIN = SegmentationPreprocessing((3, 32, 48), (0, 0, 0), (1, 1, 1), max_size=None)


def bilinear(pixels, size):
    """Resize `(H, W, C)` by interpolation between the centres of the four nearest pixels, rounded."""
    for axis, side in enumerate(size):
        given = pixels.shape[axis]
        at = ((np.arange(side) + 0.5) * given / side - 0.5).clip(0, given - 1)
        low = np.floor(at).astype(int)
        part = (at - low).reshape([-1 if dimension == axis else 1 for dimension in range(3)])
        high = np.minimum(low + 1, given - 1)
        pixels = pixels.take(low, axis) * (1 - part) + pixels.take(high, axis) * part
    return np.rint(pixels)


@pytest.mark.parametrize(
    ("size", "kept", "fitted"),
    [
        ((512, 683), (512, 683), (512, 704)),
        ((512, 2048), (512, 2048), (512, 2048)),
        ((300, 3000), (205, 2048), (224, 2048)),
        ((1024, 2048), (512, 1024), (512, 1024)),
        ((683, 512), (683, 512), (704, 512)),
        ((1, 1), (512, 512), (512, 512)),
        ((1, 9000), (1, 2048), (32, 2048)),
    ],
)
def test_sizes_of_the_published_results(size, kept, fitted):
    preprocessing = SegmentationPreprocessing()
    assert preprocessing.kept_shape(size) == kept
    assert preprocessing.fitted(size) == fitted


def test_sizes_with_scale_and_without_fit_size():
    preprocessing = SegmentationPreprocessing()
    assert preprocessing.kept_shape((512, 683), 0.5) == (256, 342)
    assert preprocessing.fitted((512, 683), 1.75) == (896, 1216)
    own = SegmentationPreprocessing(max_size=None, size_divisor=1)
    assert own.fitted((333, 45)) == (333, 45)
    assert own.fitted((333, 45), 2) == (666, 90)
    assert own.fitted((1, 1), 0.1) == (1, 1)


@pytest.mark.parametrize("size", [(70, 90), (21, 33), (64, 50), (1, 1)])
def test_transform_is_two_plain_bilinear_resizes(size):
    preprocessing = SegmentationPreprocessing(max_size=(80, 48), size_divisor=16)
    pixels = np.random.default_rng(0).integers(256, size=(*size, 3), dtype=np.uint8)
    for scale in (1.0, 0.5):
        expected = bilinear(pixels, preprocessing.kept_shape(size, scale))
        expected = bilinear(expected, preprocessing.fitted(size, scale))
        given = preprocessing.transform(scale)(Image.fromarray(pixels))
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
        assert given.dtype == torch.float32
        restored = 255 * (given * std + mean).permute(1, 2, 0).numpy()
        assert restored.shape == expected.shape
        assert np.abs(restored - expected).max() < 2.01  # a half rounded the other way, once per resize


def test_gray():
    gray = SegmentationPreprocessing((1, 32, 32), (0.5,), (0.5,), max_size=None)
    white = gray.transform()(Image.new("RGB", (40, 40), "white"))
    assert torch.equal(white, torch.ones(1, 64, 64))
    described = SegmentationPreprocessing.from_pretrained_cfg(SegmentationPreprocessing().to_dict(), in_chans=1)
    assert described.input_size == (1, 512, 512)
    assert len(described.mean) == len(described.std) == 1
    with pytest.raises(ValueError, match="4 channels"):
        SegmentationPreprocessing.from_pretrained_cfg({}, in_chans=4)


@pytest.mark.parametrize("max_size", [(640, 320), None])
def test_trip_through_json_and_configuration(max_size):
    preprocessing = SegmentationPreprocessing((3, 64, 96), (0, 0, 0), (1, 1, 1), max_size, 8)
    plain = json.loads(json.dumps(preprocessing.to_dict()))
    assert SegmentationPreprocessing(**plain) == preprocessing
    assert SegmentationPreprocessing.from_pretrained_cfg({**plain, "classifier": "head"}, 3) == preprocessing
    assert SegmentationPreprocessing.from_pretrained_cfg({}) == SegmentationPreprocessing()


def test_worker_processes_get_the_transform():
    transform = SegmentationPreprocessing().transform(0.5)
    picture = Image.effect_noise((40, 30), 50)
    assert torch.equal(pickle.loads(pickle.dumps(transform))(picture), transform(picture))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_size": (512, 2048)}, r"max_size \(512, 2048\): give \(long side, short side\)"),
        ({"max_size": (512,)}, "max_size"),
        ({"size_divisor": 0}, "size_divisor 0"),
        ({"input_size": (2, 32, 32)}, "1 or 3 channels"),
        ({"std": (1, 1)}, "one value per channel"),
    ],
)
def test_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SegmentationPreprocessing(**options)
    with pytest.raises(ValueError, match="scale 0"):
        SegmentationPreprocessing().transform(0)


def augmented(picture, mask, preprocessing=PLAIN, **options):
    transform = training_transform(preprocessing, SegmentationAugmentation(**options))
    return transform(Image.fromarray(picture), tv_tensors.Mask(mask))


@pytest.mark.parametrize("seed", range(20))
def test_image_and_mask_change_alike(seed):
    picture, mask = draw_pair(seed)
    torch.manual_seed(seed)
    image, labels = augmented(picture, mask, photometric=False)
    assert image.shape == (3, 32, 48)
    assert labels.shape == (32, 48)
    assert image.dtype == torch.float32
    assert labels.dtype == torch.int64
    assert type(image) is type(labels) is torch.Tensor
    counted = labels != 255
    assert counted.any()
    distance = (image[:, None] - torch.tensor(COLORS).T[..., None, None] / 255).abs().sum(0)  # (classes, H, W)
    assert (distance.argmin(0) == labels)[counted].float().mean() > 0.93  # but for edges, where colours mix


@pytest.mark.parametrize("size", [(1, 1), (5, 300), (40, 20)])
def test_smaller_pictures_are_padded_after_they_are_normalised(size):
    mask = np.zeros(size, np.uint8)
    picture = np.full((*size, 3), 200, np.uint8)
    preprocessing = SegmentationPreprocessing((3, 64, 64), max_size=None)
    image, labels = augmented(picture, mask, preprocessing, scale=(1.0, 1.0), photometric=False)
    height, width = (min(side, 64) for side in size)
    assert (labels[:height, :width] == 0).all()
    assert (labels == 0).sum() == height * width
    assert (labels == 255).sum() == 64 * 64 - height * width
    assert (image[:, labels == 255] == 0).all()
    expected = (200 / 255 - torch.tensor(preprocessing.mean)) / torch.tensor(preprocessing.std)
    torch.testing.assert_close(image[:, 0, 0], expected)


def test_scale_multiplies_the_fitted_size():
    preprocessing = SegmentationPreprocessing((3, 64, 64), (0, 0, 0), (1, 1, 1), max_size=(40, 20))
    picture, mask = np.zeros((100, 100, 3), np.uint8), np.zeros((100, 100), np.uint8)
    sides = {int((augmented(picture, mask, preprocessing)[1][0] == 0).sum()) for _ in range(60)}
    assert min(sides) in (10, 11, 12)
    assert max(sides) in (38, 39, 40)
    own = SegmentationPreprocessing((3, 64, 64), (0, 0, 0), (1, 1, 1), max_size=None)
    assert int((augmented(picture[:20, :20], mask[:20, :20], own, scale=(2, 2))[1][0] == 0).sum()) == 40


def test_crops_avoid_those_that_one_class_fills():
    mask = np.zeros((64, 64), np.uint8)
    mask[:20, :20] = 1
    mask[40:, :] = 255  # is not counted
    picture = np.zeros((64, 64, 3), np.uint8)
    preprocessing = SegmentationPreprocessing((3, 24, 24), max_size=None)
    shares = {
        limit: np.array(
            [
                largest_share(augmented(picture, mask, preprocessing, scale=(1, 1), max_class_share=limit)[1].numpy())
                for _ in range(150)
            ]
        )
        for limit in (0.75, 1.0)
    }
    filled = {limit: (values >= 0.75).mean() for limit, values in shares.items()}
    assert filled[1.0] > 0.7
    assert filled[0.75] < filled[1.0] ** 5  # of ten independent tries, nearly one succeeds


def test_largest_share():
    assert largest_share(np.array([[0, 0, 1, 255], [255, 255, 255, 0]], np.uint8)) == 0.75
    assert largest_share(np.full((3, 3), 255, np.uint8)) == 1


@pytest.mark.parametrize("probability", [0, 1])
def test_flip(probability):
    mask = np.zeros((32, 48), np.uint8)
    mask[:, :10] = 1
    options = {"scale": (1, 1), "photometric": False, "horizontal_flip": probability, "max_class_share": 1}
    image, labels = augmented(mask[..., None].repeat(3, 2) * 255, mask, **options)
    expected = mask[:, ::-1] if probability else mask
    assert np.array_equal(labels, expected)
    assert np.array_equal(image[0], expected)


def test_colours_are_distorted_within_their_ranges_and_never_swapped():
    picture = np.full((32, 48, 3), (40, 60, 200), np.uint8)
    mask = np.zeros((32, 48), np.uint8)
    images = [augmented(picture, mask, scale=(1, 1), max_class_share=1)[0][:, 0, 0] for _ in range(60)]
    assert len({tuple(image.tolist()) for image in images}) > 30
    assert all(image.argmax() == 2 for image in images)  # a hue of 36 degrees either way stays blue
    same, _ = augmented(picture, mask, scale=(1, 1), photometric=False)
    assert torch.equal((same[:, 0, 0] * 255).round(), torch.tensor([40.0, 60.0, 200.0]))


def test_gray_augmentation_and_seed():
    preprocessing = SegmentationPreprocessing((1, 32, 32), (0.5,), (0.5,))
    picture, mask = draw_pair(1)
    runs = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        runs.append(augmented(picture, mask, preprocessing))
    assert runs[0][0].shape == (1, 32, 32)
    assert torch.equal(runs[0][0], runs[1][0])
    assert torch.equal(runs[0][1], runs[1][1])
    assert not torch.equal(runs[0][0], runs[2][0])


@pytest.mark.parametrize(
    "options", [{"scale": (2, 1)}, {"scale": (1,)}, {"horizontal_flip": 2}, {"max_class_share": 0}]
)
def test_refused_augmentation(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        SegmentationAugmentation(**options)
