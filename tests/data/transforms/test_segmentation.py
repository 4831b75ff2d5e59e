import json
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from gpvit.data.transforms.segmentation import SegmentationPreprocessing


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
    assert SegmentationPreprocessing.from_dict(plain) == preprocessing
    assert SegmentationPreprocessing.from_pretrained_cfg({**plain, "classifier": "head"}, 3) == preprocessing
    assert SegmentationPreprocessing.from_pretrained_cfg({}) == SegmentationPreprocessing()
    with pytest.raises(ValueError, match=r"unknown preprocessing keys \['crop_pct'\]; known keys"):
        SegmentationPreprocessing.from_dict({**plain, "crop_pct": 1})


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
