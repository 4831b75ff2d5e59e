import pytest
import timm
import torch
from torch import nn

import gpvit
from gpvit.data.detection import Categories
from gpvit.inference.metadata import (
    categories_of,
    class_colors_of,
    class_names_of,
    preprocessing_of,
    segmentation_preprocessing_of,
    task_of,
)


def test_a_checkpoint_tells_classes_and_preprocessing(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "own.safetensors"
    names = ("ant", "bee", "cat")
    gpvit.save(gpvit.create_model("gpvit_nano", num_classes=3), path, names, {"input_size": (3, 64, 64)})
    model = gpvit.load(path)
    assert class_names_of(model) == names
    assert preprocessing_of(model).input_size == (3, 64, 64)


def test_class_names_without_a_checkpoint():
    names = class_names_of(timm.create_model("gpvit_nano"))
    assert len(names) == 1000
    assert (names[0], names[281], names[999]) == ("tench", "tabby", "toilet tissue")
    assert class_names_of(timm.create_model("gpvit_nano", num_classes=2)) == ("class 0", "class 1")


def test_a_segmenter_tells_its_task_preprocessing_and_classes():
    model = gpvit.create_model("segformer_gpvit_nano")
    assert (task_of(model), task_of(timm.create_model("resnet10t"))) == ("segmentation", "classification")
    assert segmentation_preprocessing_of(model).max_size == (2048, 512)
    names, colors = class_names_of(model), class_colors_of(model)
    assert (len(names), names[0], names[149]) == (150, "wall", "flag")
    assert len(set(colors)) == 150
    assert all(0 <= value <= 255 for color in colors for value in color)
    gray = gpvit.create_model("segformer_gpvit_nano", num_classes=2, in_chans=1)
    assert segmentation_preprocessing_of(gray).input_size[0] == 1
    assert class_names_of(gray) == ("class 0", "class 1")
    gray.pretrained_cfg |= {"label_names": ["a", "b"], "label_colors": [[1, 2, 3], [4, 5, 6]]}
    assert class_names_of(gray) == ("a", "b")
    assert class_colors_of(gray) == ((1, 2, 3), (4, 5, 6))


def test_a_detector_tells_its_categories():
    model = gpvit.create_model("retinanet_gpvit_nano")
    assert task_of(model) == "detection"
    categories = categories_of(model)
    assert categories.names == class_names_of(model)
    assert (len(categories), categories.names[0], categories.names[-1]) == (80, "person", "toothbrush")
    assert (categories.ids[0], categories.ids[16], categories.names[16], categories.ids[-1]) == (1, 18, "dog", 90)
    model.pretrained_cfg |= {"label_names": list(categories.names)}
    assert categories_of(model) == categories
    small = gpvit.create_model("retinanet_gpvit_nano", num_classes=2)
    assert categories_of(small) == Categories(("class 1", "class 2"), (1, 2))
    small.pretrained_cfg |= {"label_names": ["a", "b"]}
    assert categories_of(small) == Categories(("a", "b"), (1, 2))
    small.pretrained_cfg |= {"category_ids": [5, 3]}
    assert categories_of(small) == Categories(("a", "b"), (5, 3))
    assert len(set(class_colors_of(small))) == 2


def test_one_channel_takes_gray_and_others_are_refused():
    gray = preprocessing_of(timm.create_model("gpvit_nano", in_chans=1))
    assert gray.input_size == (1, 224, 224)
    assert gray.mean == (pytest.approx((0.485 + 0.456 + 0.406) / 3),)
    assert preprocessing_of(nn.Identity()).input_size == (3, 224, 224)
    with pytest.raises(ValueError, match="4 channels"):
        preprocessing_of(timm.create_model("gpvit_nano", in_chans=4))
