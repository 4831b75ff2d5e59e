import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import gpvit
from gpvit import Predictor
from gpvit.data import load_photograph
from gpvit.inference import task_predictors
from gpvit.inference.inferers import SlidingWindow, WholeImage

NAMES = ["sky", "water", "stone", "leaf"]
COLORS = [[0, 0, 255], [0, 255, 255], [128, 128, 128], [0, 128, 0]]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = gpvit.create_model("segformer_gpvit_nano", num_classes=4, backbone_kwargs={"img_size": 64})
    model.pretrained_cfg |= {"label_names": NAMES, "label_colors": COLORS, "max_size": (128, 64), "size_divisor": 16}
    return model.eval()


@pytest.fixture(scope="module")
def photographs():
    names = ("china", "astronaut", "coffee")
    return [
        load_photograph(name).resize(size) for name, size in zip(names, [(150, 100), (70, 90), (64, 64)], strict=True)
    ]


def test_labels_are_those_of_the_method(model, photographs):
    for method in (None, WholeImage(scales=(1.0, 1.5), flip=True), SlidingWindow(64)):
        predictor = Predictor(model, inferer=method)
        assert (predictor.preprocessing.max_size, predictor.preprocessing.size_divisor) == ((128, 64), 16)
        results = predictor(photographs)
        for image, result in zip(photographs, results, strict=True):
            expected = (method or WholeImage())(model, image, predictor.preprocessing)
            assert np.array_equal(result.labels, expected)
            assert result.labels.shape == image.size[::-1]
            assert result.source is image
            assert result.class_names == tuple(NAMES)
            assert result.colors == tuple(map(tuple, COLORS))


def test_a_checkpoint_is_all_it_needs(model, photographs, tmp_path):
    path = tmp_path / "own.safetensors"
    gpvit.save(model, path)
    loaded, given = Predictor(path, device="cpu"), Predictor(model)
    assert loaded.preprocessing == given.preprocessing
    result, expected = loaded(photographs[0]), given(photographs[0])
    assert np.array_equal(result.labels, expected.labels)
    assert result.areas() == expected.areas()
    assert result.colors == expected.colors


def test_one_image_at_a_time_is_taken_and_what_is_none_fails(model, tmp_path):
    text = tmp_path / "text.png"
    text.write_text("no image")
    taken = []

    def sources():
        for source in (np.zeros((40, 50), np.uint8), text, Image.new("RGB", (64, 33))):
            taken.append(source)
            yield source

    stream = Predictor(model).stream(sources())
    assert next(stream).labels.shape == (40, 50)
    assert len(taken) == 1
    failure, result = stream
    assert (failure.source, result.labels.shape) == (text, (33, 64))
    with pytest.raises(ValueError, match=r"text\.png"):
        Predictor(model)(text)


@pytest.mark.parametrize("inferer", [None, WholeImage(scales=(1.0, 1.5), flip=True), SlidingWindow(64)])
def test_batches_give_the_same(model, photographs, inferer):
    sources = [photographs[0], photographs[0].transpose(0), *photographs, photographs[2]]
    alone = Predictor(model, inferer=inferer)(sources)
    for one, several in zip(alone, Predictor(model, batch_size=4, inferer=inferer)(sources), strict=True):
        assert several.labels.shape == one.labels.shape
        assert (several.labels == one.labels).mean() > 0.99


def test_images_above_the_limit_are_labelled_by_windows(model, photographs, tmp_path, monkeypatch):
    path = tmp_path / "large.png"
    photographs[0].save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)  # Pillow refuses more than twice that
    monkeypatch.setattr(task_predictors, "LARGEST_WHOLE", 10_000)
    result = Predictor(model)(path)
    assert np.array_equal(result.labels, SlidingWindow()(model, photographs[0], Predictor(model).preprocessing))


def test_gray_and_bfloat16_models_work(photographs):
    model = gpvit.create_model("upernet_gpvit_nano", num_classes=3, in_chans=1, backbone_kwargs={"img_size": 64})
    result = Predictor(model.bfloat16(), inferer=SlidingWindow(64))(photographs[0])
    assert result.labels.shape == (100, 150)
    assert result.labels.max() < 3


def test_settings_of_the_other_task_are_refused():
    with pytest.raises(ValueError, match=r"GPViT sees images whole; leave out SlidingWindow\(size=512"):
        Predictor(gpvit.create_model("gpvit_nano"), inferer=SlidingWindow())


def test_other_tasks_are_refused():
    model = nn.Linear(2, 2)
    model.task = "translation"
    with pytest.raises(ValueError, match="Linear is for translation"):
        Predictor(model)


def test_a_checkpoint_keeps_that_pictures_keep_their_size(tmp_path):
    model = gpvit.create_model("segformer_gpvit_nano", num_classes=2, backbone_kwargs={"img_size": 64})
    model.pretrained_cfg |= {"max_size": None, "size_divisor": 8}
    gpvit.save(model, tmp_path / "own.safetensors")
    assert Predictor(tmp_path / "own.safetensors", device="cpu").preprocessing == Predictor(model).preprocessing
