import numpy as np
import pytest
import torch
import torch.nn.functional as F

import gpvit
from gpvit.data.transforms.segmentation import SegmentationPreprocessing
from gpvit.inference import label_maps
from gpvit.inference.inferers import WholeImage

SIZES = [(97, 64), (33, 120), (150, 151), (40, 20)]


def bilinear(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)


@pytest.fixture
def preprocessing():
    return SegmentationPreprocessing(max_size=(256, 64), size_divisor=32)


@pytest.mark.parametrize("size", SIZES)
def test_logits_are_resized_twice(size, preprocessing, pooled_segmenter, noise_image, assert_same_labels, monkeypatch):
    monkeypatch.setattr(label_maps, "_BAND_VALUES", 3000)
    model, photo = pooled_segmenter(7, 8), noise_image(*size)
    image = preprocessing.transform()(photo)[None]
    with torch.no_grad():
        expected = bilinear(bilinear(model.forward_low(image), image.shape[2:]), size)[0]
    assert_same_labels(WholeImage()(model, photo, preprocessing), expected)


@pytest.mark.parametrize("size", SIZES)
def test_probabilities_of_scales_and_mirrors_are_averaged(
    size, preprocessing, pooled_segmenter, noise_image, assert_same_labels, monkeypatch
):
    monkeypatch.setattr(label_maps, "_BAND_VALUES", 3000)
    model, photo, scales = pooled_segmenter(7, 8), noise_image(*size), (0.5, 1.0, 1.75)
    slope = torch.linspace(-1, 1, 7)[:, None, None]
    pooled = model.forward_low
    model.forward_low = lambda images: pooled(images) + slope * torch.linspace(0, 1, images.shape[3] // 8)
    total = torch.zeros(7, *size)
    with torch.no_grad():
        for scale in scales:
            image = preprocessing.transform(scale)(photo)[None]
            for mirrored in (False, True):
                low = model.forward_low(image.flip(-1) if mirrored else image)
                probabilities = bilinear(bilinear(low, image.shape[2:]), size).softmax(1)
                total += (probabilities.flip(-1) if mirrored else probabilities)[0]
    assert_same_labels(WholeImage(scales, flip=True)(model, photo, preprocessing), total)


def test_with_mirrors_a_mirrored_image_gives_mirrored_labels(preprocessing, noise_image):
    model = gpvit.create_model("segformer_gpvit_nano", num_classes=6, backbone_kwargs={"img_size": 64}).eval()
    photo = noise_image(64, 96)
    labels, mirrored = (WholeImage(flip=True)(model, view, preprocessing) for view in (photo, photo.transpose(0)))
    assert len(np.unique(labels)) > 1
    assert (labels == mirrored[:, ::-1]).mean() > 0.999


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (7, 3), (31, 65)])
def test_any_size_will_do(size, noise_image):
    model = gpvit.create_model("upernet_gpvit_nano", num_classes=300, backbone_kwargs={"img_size": 64}).eval()
    labels = WholeImage()(model, noise_image(*size), SegmentationPreprocessing(max_size=(128, 32)))
    assert labels.shape == size
    assert labels.dtype == np.int32
    assert labels.min() >= 0
    assert labels.max() < 300


@pytest.mark.parametrize("scales", [(), (0.0,), (1.0, -1.0), (1.0, float("nan")), (float("inf"),)])
def test_scales_that_are_none_are_refused(scales):
    with pytest.raises(ValueError, match="scales"):
        WholeImage(scales)
