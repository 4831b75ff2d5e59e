import pytest
import timm
import torch
from torch import nn

import gpvit
from gpvit.inference.model import choose_device, class_names_of, is_untrained, open_model, preprocessing_of


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "own.safetensors"
    model = gpvit.create_model("gpvit_nano", num_classes=3, img_size=64)
    gpvit.save(model, path, class_names=["ant", "bee", "cat"], inputs={"input_size": (3, 64, 64)})
    return path


def test_a_checkpoint_brings_everything(checkpoint):
    for path in (checkpoint, str(checkpoint)):
        model = open_model(path)
        assert not model.training
        assert class_names_of(model) == ("ant", "bee", "cat")
        assert preprocessing_of(model).input_size == (3, 64, 64)
        assert not is_untrained(path)


def test_a_name_starts_untrained_unless_weights_are_named(checkpoint):
    assert is_untrained("gpvit_nano")
    assert not is_untrained("gpvit_l1.in1k")
    assert not is_untrained("gpvit_nano", checkpoint)
    assert open_model("gpvit_nano").num_classes == 1000
    assert torch.equal(open_model("gpvit_nano", checkpoint).head.weight, open_model(checkpoint).head.weight)


def test_a_folder_named_like_a_model_does_not_hide_it(tmp_path, monkeypatch):
    (tmp_path / "gpvit_nano").mkdir()
    monkeypatch.chdir(tmp_path)
    assert is_untrained("gpvit_nano")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("gpvit_nanoo",), ValueError, "gpvit_nano"),
        (("absent.safetensors",), FileNotFoundError, "absent.safetensors"),
        (("own.safetensors", "in1k"), ValueError, "own weights"),
        (("gpvit_l1.in1k", "in1k"), ValueError, "choose one"),
    ],
)
def test_what_cannot_be_opened_is_told(arguments, error, message):
    with pytest.raises(error, match=message):
        open_model(*arguments)


def test_device_is_chosen_or_refused():
    expected = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    assert choose_device() == expected
    assert choose_device("cpu") == torch.device("cpu")
    for wrong in ("toaster", "cuda:99"):
        with pytest.raises(ValueError, match=f"{wrong}.*choose 'cpu'"):
            choose_device(wrong)


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
