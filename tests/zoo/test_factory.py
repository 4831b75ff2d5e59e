import pytest
import torch

import gpvit
from gpvit.zoo.factory import is_untrained, open_model


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
        assert model.pretrained_cfg["label_names"] == ["ant", "bee", "cat"]
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
