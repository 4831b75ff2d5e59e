import pytest
import timm
import torch
from torch import nn

import gpvit
from gpvit.inference.model import class_names_of, preprocessing_of


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


def test_one_channel_takes_gray_and_others_are_refused():
    gray = preprocessing_of(timm.create_model("gpvit_nano", in_chans=1))
    assert gray.input_size == (1, 224, 224)
    assert gray.mean == (pytest.approx((0.485 + 0.456 + 0.406) / 3),)
    assert preprocessing_of(nn.Identity()).input_size == (3, 224, 224)
    with pytest.raises(ValueError, match="4 channels"):
        preprocessing_of(timm.create_model("gpvit_nano", in_chans=4))
