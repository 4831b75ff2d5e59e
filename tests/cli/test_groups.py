import pytest
import timm
import torch
from PIL import Image

import gpvit
from gpvit.cli import main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    Image.new("RGB", (60, 40), "teal").save(tmp_path / "cat.png")
    Image.new("L", (40, 60), 200).save(tmp_path / "dog.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_one_picture_for_each_image(folder, capsys):
    torch.manual_seed(0)
    gpvit.save(timm.create_model("gpvit_nano", num_classes=2), folder / "own.safetensors")
    assert main(["groups", "own.safetensors", "cat.png", "dog.jpg", "--out", "drawings", "--size", "32"]) == 0
    text, errors = capsys.readouterr()
    assert text.split() == ["drawings/cat_groups.png", "drawings/dog_groups.png"]
    assert errors == ""
    for path in text.split():
        with Image.open(folder / path) as drawing:
            drawing.load()
            assert min(drawing.size) > 500


@pytest.mark.parametrize("name", ["upernet_gpvit_nano", "mask_rcnn_gpvit_nano"])
@pytest.mark.slow
def test_segmenters_and_detectors_have_groups_too(name, folder, capsys):
    gpvit.save(gpvit.create_model(name, num_classes=2, backbone_kwargs={"img_size": 64}), folder / "own.safetensors")
    assert main(["groups", "own.safetensors", "cat.png", "--size", "32"]) == 0
    text, errors = capsys.readouterr()
    assert text.split() == ["groups/cat_groups.png"]
    assert errors == ""


def test_random_weights_are_allowed_and_told(folder, capsys):
    assert main(["groups", "gpvit_nano", "cat.png", "--size", "32"]) == 0
    text, errors = capsys.readouterr()
    assert text.split() == ["groups/cat_groups.png"]
    assert "no weights: groups are untrained" in errors


def test_what_is_no_image_is_reported_and_the_rest_still_done(folder, capsys):
    (folder / "bad.png").write_text("no image")
    Image.new("RGB", (1, 900)).save(folder / "strip.png")
    assert main(["groups", "gpvit_nano", "bad.png", "strip.png", "cat.png", "--size", "32"]) == 1
    text, errors = capsys.readouterr()
    assert text.split() == ["groups/cat_groups.png"]
    assert "bad.png is not an image" in errors
    assert "strip.png, gpvit_nano: 1 x 900 pixels are too long" in errors
    assert "2 of 3 images could not be drawn" in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gpvit_nano", "absent.png"], "absent.png"),
        (["gpvit_nano", "cat.png", "--size", "31"], "at least 32"),
        (["gpvit_9", "cat.png"], "unknown model"),
    ],
)
def test_bad_input_is_told(arguments, message, folder, capsys):
    assert main(["groups", *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not (folder / "groups").exists()
