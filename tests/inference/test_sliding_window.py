from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

import gpvit
from gpvit.data.transforms.segmentation import SegmentationPreprocessing
from gpvit.inference.inferers import SlidingWindow, WholeImage, _Axis


class LargestTensor(TorchDispatchMode):
    """Remembers how many values the largest float tensor had that was made meanwhile."""

    largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.is_floating_point():
            self.largest = max(self.largest, result.numel())
        return result


def test_windows_cover_everything_evenly_and_count_everywhere():
    for window in (32, 64, 96, 512):
        for overlap in (0, 0.1, 1 / 3, 0.5, 0.8, 0.99):
            method = SlidingWindow(window, overlap)
            for side in (1, 7, 8, 31, 32, 33, 64, 65, 100, 511, 512, 513, 1000, 1337):
                axis = _Axis.over(side, method, stride=8, unit=8)
                assert axis.window <= window // 8
                assert axis.starts[0] == 0
                assert axis.starts[-1] + axis.window == axis.cells
                assert axis.cells * 8 >= side
                gaps = np.diff(axis.starts)
                assert (gaps >= 1).all()
                assert (gaps <= max(1, axis.window * (1 - overlap))).all()
                assert (axis.weights > 0).all()
                total = torch.zeros(axis.cells)
                for start, weights in zip(axis.starts, axis.weights, strict=True):
                    total[start : start + axis.window] += weights
                torch.testing.assert_close(total, torch.ones(axis.cells))


@pytest.mark.parametrize("size", [(64, 64), (96, 64), (64, 256), (160, 248), (256, 88)])
@pytest.mark.parametrize("overlap", [0.0, 1 / 3, 0.7])
def test_a_local_model_answers_as_for_the_whole_image(size, overlap, own_size, pooled_segmenter, noise_image):
    model, photo = pooled_segmenter(9, 8), noise_image(*size)
    windows = SlidingWindow(64, overlap, flip=True)(model, photo, own_size)
    assert (windows == WholeImage()(model, photo, own_size)).mean() > 0.9995  # ties aside


@pytest.mark.parametrize("stride", [1, 4, 8, 32])
@pytest.mark.parametrize("size", [(1, 1), (1, 200), (63, 65), (70, 131), (129, 33)])
def test_sides_that_are_no_multiples_keep_their_place(
    size, stride, own_size, pooled_segmenter, noise_image, assert_same_labels
):
    model, photo = pooled_segmenter(9, stride), noise_image(*size)
    image = replace(own_size, size_divisor=1).transform()(photo)[None]
    beyond_y, beyond_x = (
        -side % (32 if side < 64 else stride) for side in size
    )  # below the window's size, the size_divisor
    padding = (0, beyond_x, 0, beyond_y)
    with torch.no_grad():
        logits = model.forward_low(F.pad(image, padding, mode="replicate"))
    expected = F.interpolate(logits, scale_factor=stride, mode="bilinear")[0, :, : size[0], : size[1]]
    labels = SlidingWindow(64)(model, photo, replace(own_size, size_divisor=32))
    if min(size) == 1:
        assert labels.shape == size
    else:
        assert_same_labels(labels, expected)


def test_windows_that_disagree_are_blended_smoothly(own_size, pooled_segmenter):
    """A window answers by its mean alone: over a ramp the labels jump from window to window, unless these overlap."""
    ramp = np.tile(np.linspace(0, 255, 512).astype(np.uint8)[None, :, None], (64, 1, 3))
    model, levels = pooled_segmenter(64, 8), torch.linspace(-2, 2.5, 64)

    def nearest_level(images: torch.Tensor) -> torch.Tensor:
        distance = (images.mean((1, 2, 3))[:, None] - levels) ** 2
        return -distance[..., None, None].expand(-1, -1, *(side // 8 for side in images.shape[2:]))

    model.forward_low = nearest_level
    rise = {}
    for overlap in (0.0, 0.5):
        labels = SlidingWindow(64, overlap)(model, Image.fromarray(ramp), own_size)[32].astype(int)
        assert (np.diff(labels) >= 0).all()
        rise[overlap] = (labels[8:] - labels[:-8]).max()
    assert rise[0.0] >= 6
    assert rise[0.5] <= 2


def test_memory_does_not_grow_with_the_height(own_size, pooled_segmenter, noise_image):
    model, largest = pooled_segmenter(30, 8), []
    for height in (256, 1024):
        photo = noise_image(height, 256)
        with LargestTensor() as made:
            SlidingWindow(64)(model, photo, own_size)
        largest.append(made.largest)
    # Four times as high; how much is computed between cells that disagree varies a little with what they show.
    assert largest[1] < 1.1 * largest[0]


@pytest.mark.parametrize("name", ["segformer_gpvit_nano", "upernet_gpvit_nano", "segformer_resnet10t"])
@pytest.mark.parametrize("size", [(1, 1), (20, 90), (101, 75)])
def test_real_models_take_any_size(name, size, noise_image):
    model = gpvit.create_model(name, num_classes=4).eval()
    labels = SlidingWindow(64, flip=True)(model, noise_image(*size), SegmentationPreprocessing())
    assert labels.shape == size
    assert labels.dtype == np.uint8
    assert labels.max() < 4


def test_a_image_as_large_as_the_window_is_seen_whole(own_size, noise_image):
    model = gpvit.create_model("segformer_gpvit_nano", num_classes=5, backbone_kwargs={"img_size": 64}).eval()
    photo = noise_image(64, 64)
    whole, window = (method(model, photo, own_size) for method in (WholeImage(), SlidingWindow(64)))
    assert len(np.unique(whole)) > 1
    assert (whole == window).mean() > 0.999


def test_answers_that_are_not_finite_are_refused(own_size, pooled_segmenter, noise_image):
    model = pooled_segmenter(3, 8)
    torch.nn.init.constant_(model.classify.bias, float("nan"))
    for method in (WholeImage(), SlidingWindow(64)):
        with pytest.raises(ValueError, match="not finite"):
            method(model, noise_image(64, 64), own_size)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 31}, "32 or more"),
        ({"overlap": 1.0}, "overlap 1.0"),
        ({"overlap": -0.1}, "overlap -0.1"),
        ({"overlap": float("nan")}, "overlap nan"),
        ({"size": 100}, "multiple of the model's stride 8, such as 104"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message, own_size, pooled_segmenter, noise_image):
    with pytest.raises(ValueError, match=message):
        SlidingWindow(**settings)(pooled_segmenter(2, 8), noise_image(40, 40), own_size)
