import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gpvit
from gpvit.cli import main
from gpvit.data import Digits, Preprocessing

CLASSES = ("cat", "dog")


def checkpoint(path: Path, class_names: list[str], preprocessing: Preprocessing) -> Path:
    torch.manual_seed(0)
    channels, *size = preprocessing.input_size
    model = gpvit.create_model("gpvit_nano", num_classes=len(class_names), in_chans=channels, img_size=tuple(size))
    gpvit.save(model, path, class_names, preprocessing.to_dict())
    return path


@pytest.fixture
def for_digits(tmp_path) -> Path:
    return checkpoint(tmp_path / "digits.safetensors", [str(i) for i in range(10)], Digits(image_size=40).preprocessing)


@pytest.fixture
def folder(tmp_path) -> Path:
    random = np.random.default_rng(0)
    for i in range(6):
        path = tmp_path / "images" / "val" / CLASSES[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (50, 60, 3), dtype=np.uint8)).save(path)
    return tmp_path / "images"


def test_digits_are_scored_as_the_checkpoint_prepares_them(for_digits, tmp_path, capsys):
    assert main(["evaluate", str(for_digits), "--data", "digits", "--json", str(tmp_path / "scores.json")]) == 0
    table = capsys.readouterr().out
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert f"{scores['top1']:.2%}" in table
    assert scores["images"] == 500
    data = Digits(image_size=40)
    data.setup("validate")
    images, labels = data.val_set.tensors
    with torch.no_grad():
        right = gpvit.load(for_digits)(images).argmax(1) == labels
    assert scores["top1"] == pytest.approx(right.float().mean().item(), abs=1e-6)


def test_a_folder_of_images_is_scored(folder, tmp_path, capsys):
    path = checkpoint(tmp_path / "pets.safetensors", list(CLASSES), Preprocessing((3, 48, 32)))
    assert main(["evaluate", str(path), "--data", str(folder), "--num-workers", "0", "--json", "-"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["images"] == 6
    assert "top5" not in scores


def test_other_classes_are_refused(for_digits, folder, tmp_path, capsys):
    assert main(["evaluate", str(for_digits), "--data", str(folder)]) == 1
    assert "tells 10 classes apart, the data have 2" in capsys.readouterr().err
    path = checkpoint(tmp_path / "pets.safetensors", ["dog", "cat"], Preprocessing((3, 32, 32)))
    assert main(["evaluate", str(path), "--data", str(folder)]) == 1
    assert "class 0 is 'dog' for the model and 'cat' in the data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.safetensors", "no checkpoint at absent.safetensors"),
        ("gpvit_nano", "names no trained weights"),
        ("gpvit_nano.in1k", "are published for gpvit_nano"),
    ],
)
def test_what_holds_no_weights_is_refused(name, message, capsys):
    assert main(["evaluate", name]) == 1
    assert message in capsys.readouterr().err


def test_a_gray_model_whose_configuration_describes_colour(folder, tmp_path, capsys):
    model = gpvit.create_model("gpvit_nano", num_classes=2, in_chans=1)
    gpvit.save(model, tmp_path / "gray.safetensors", CLASSES, Preprocessing((3, 32, 32)).to_dict())
    arguments = ["--data", str(folder), "--num-workers", "0", "--json", "-"]
    assert main(["evaluate", str(tmp_path / "gray.safetensors"), *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 6


def test_a_damaged_image_is_named_in_one_line(folder, tmp_path, capsys):
    path = checkpoint(tmp_path / "pets.safetensors", list(CLASSES), Preprocessing((3, 32, 32)))
    bad = folder / "val" / "cat" / "bad.png"
    bad.write_bytes((folder / "val" / "cat" / "0.png").read_bytes()[:500])
    assert main(["evaluate", str(path), "--data", str(folder), "--num-workers", "1"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"gpvit evaluate: {bad} is damaged or truncated")


def test_an_absent_device_is_refused(for_digits, capsys):
    assert main(["evaluate", str(for_digits), "--device", "toaster"]) == 1
    assert "device 'toaster' cannot be used here" in capsys.readouterr().err


def test_progress_leaves_stdout_alone(for_digits, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert main(["evaluate", str(for_digits), "--json", "-"]) == 0
    text, progress = capsys.readouterr()
    assert json.loads(text)["images"] == 500
    assert "evaluating" in progress


def test_absent_data_are_refused(for_digits, capsys):
    assert main(["evaluate", str(for_digits), "--data", "no/such/folder"]) == 1
    assert "no/such/folder" in capsys.readouterr().err
