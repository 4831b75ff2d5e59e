"""A model as a folder: what timm reads is what was written, and nobody's files are lost."""

import json
import os
import shutil
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image

import gpvit
from gpvit.errors import UserError
from gpvit.zoo.hub_folder import save_folder
from gpvit.zoo.model_card import Card

FILES = ["README.md", "config.json", "model.safetensors"]
NAMES = ["apple", "pear", "Größe"]


@pytest.fixture(scope="module")
def model():
    return gpvit.create_model("gpvit_nano", num_classes=3, img_size=(64, 96)).eval()


@pytest.fixture(scope="module")
def written(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "fruit"
    gpvit.save(model, folder, class_names=NAMES)
    return folder


@pytest.fixture
def folder(written, tmp_path) -> Path:
    return shutil.copytree(written, tmp_path / "fruit")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_timm_and_gpvit_read_what_was_written(written, model):
    assert names(written) == FILES
    x = torch.rand(2, 3, 64, 96)
    for again in (timm.create_model(f"local-dir:{written}", pretrained=True), gpvit.load(written)):
        assert torch.equal(again.eval()(x), model(x))
        assert list(again.pretrained_cfg["label_names"]) == NAMES
        assert tuple(again.pretrained_cfg["input_size"]) == (3, 64, 96)
    features = timm.create_model(f"local-dir:{written}", pretrained=True, features_only=True, out_indices=(2, 5)).eval()
    expected = model.forward_intermediates(x, indices=[2, 5], intermediates_only=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(expected, features(x), strict=True))
    assert timm.create_model(f"local-dir:{written}", pretrained=True, num_classes=7)(x).shape == (2, 7)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"in_chans": 1, "global_pool": "avg"},
        {"num_classes": 0, "drop_path_rate": 0.1, "blocks": [{"kind": "local", "num_heads": 4}]},
    ],
)
def test_what_is_not_usual_comes_along(kwargs, tmp_path):
    model = gpvit.create_model("gpvit_nano", **{"num_classes": 3, **kwargs}).eval()
    gpvit.save(model, tmp_path / "own")
    x = torch.rand(1, model.in_chans, 32, 64)
    for again in (timm.create_model(f"local-dir:{tmp_path}/own", pretrained=True), gpvit.load(tmp_path / "own")):
        torch.testing.assert_close(again.eval()(x), model(x), rtol=0, atol=1e-6)
        assert again.global_pool == model.global_pool


@pytest.mark.parametrize("name", ["segformer_gpvit_nano", "retinanet_gpvit_nano"])
def test_segmenters_and_detectors_have_the_same_form(name, tmp_path):
    model = gpvit.create_model(name, num_classes=2).eval()
    gpvit.save(model, tmp_path / "own", class_names=["a", "b"])
    config = json.loads((tmp_path / "own/config.json").read_text())
    assert (config["architecture"], config["num_classes"], config["task"]) == (name, 2, model.task)
    assert "pretrained_cfg" not in config  # by which transformers would take it for timm's
    again = gpvit.load(tmp_path / "own")
    assert all(torch.equal(t, again.state_dict()[n]) for n, t in model.state_dict().items())
    assert gpvit.Predictor(tmp_path / "own").class_names == ("a", "b")


def test_weights_that_timm_wrote_are_described_by_its_configuration(model, tmp_path):
    x = torch.rand(1, 3, 64, 96)
    timm.models.save_for_hf(model, tmp_path, safe_serialization=True, model_config={"label_names": NAMES})
    again = gpvit.load(tmp_path)
    assert torch.equal(again(x), model(x))
    assert list(again.pretrained_cfg["label_names"]) == NAMES


def test_a_file_is_still_a_file(model, tmp_path):
    gpvit.save(model, tmp_path / "a.safetensors")
    assert names(tmp_path) == ["a.safetensors"]
    with pytest.raises(UserError, match="only a folder has a model card"):
        gpvit.save(model, tmp_path / "b.safetensors", card=Card())
    with pytest.raises(UserError, match=r"written as \.safetensors; got .*b\.pth"):
        gpvit.save(model, tmp_path / "b.pth")
    (tmp_path / "plain").write_text("mine")
    with pytest.raises(UserError, match="plain is a file; name a folder"):
        gpvit.save(model, tmp_path / "plain")
    (tmp_path / "v1.safetensors").mkdir()
    gpvit.save(model, tmp_path / "v1.safetensors")
    assert names(tmp_path / "v1.safetensors") == FILES


def test_own_files_are_replaced_and_others_stay(folder, model, tmp_path):
    (folder / "notes.txt").write_text("mine")
    Image.new("RGB", (2000, 10)).save(tmp_path / "photo.jpg")
    gpvit.save(model, folder, card=Card(picture=tmp_path / "photo.jpg"))
    assert names(folder) == sorted([*FILES, "notes.txt", "picture.png"])
    assert Image.open(folder / "picture.png").size == (1280, 6)
    assert "(picture.png)" in (folder / "README.md").read_text()
    gpvit.save(model, folder)
    assert names(folder) == sorted([*FILES, "notes.txt"])


@pytest.mark.parametrize("name", FILES)
def test_what_somebody_else_wrote_is_never_replaced(name, folder, model):
    path = folder / name
    path.write_bytes(path.read_bytes().replace(b"gpvit_nano", b"gpvit_mine"))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UserError, match=rf"fruit holds .*{name}.*, which gpvit did not write or which changed since"):
        gpvit.save(model, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_disk_that_fills_up_leaves_the_folder_as_it_was(folder, model, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        gpvit.save(gpvit.create_model("gpvit_nano", num_classes=2), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def edited(folder: Path, **changes) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: os.remove(folder / "config.json"), r"fruit holds model\.safetensors but no config\.json"),
        (lambda folder: os.remove(folder / "model.safetensors"), "holds none of best.safetensors"),
        (lambda folder: (folder / "config.json").write_text("{"), r"config\.json is not JSON"),
        (lambda folder: (folder / "config.json").write_text("{}"), r"config\.json names no architecture"),
        (
            lambda folder: edited(folder, architecture="resnet50"),
            r"is of resnet50 with 3 classes, and model\.safetensors",
        ),
        (lambda folder: edited(folder, num_classes=4), r"of gpvit_nano with 4 classes, and .* of gpvit_nano with 3"),
    ],
)
def test_a_folder_that_is_none_is_told(spoil, message, folder):
    spoil(folder)
    with pytest.raises((UserError, FileNotFoundError), match=message):
        gpvit.load(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "resnet18"}, "classifiers are GPViTs"),
        ({"model_args": {"checkpoint_path": "/etc/passwd"}}, "sets 'checkpoint_path' in its kwargs"),
        ({"model_args": [1]}, "must be mappings"),
        ({"pretrained_cfg": {"crop_mode": "border"}}, "crops images by 'border'"),
        ({"pretrained_cfg": {"std": [0, 0, 0]}}, "sets std in its inputs"),
        ({"num_classes": "many"}, "sets num_classes in its kwargs"),
    ],
)
def test_a_configuration_of_others_is_held_to_the_same_rules(changes, message, model, tmp_path):
    timm.models.save_for_hf(model, tmp_path, safe_serialization=True)
    edited(tmp_path, **changes)
    with pytest.raises(UserError, match=message):
        gpvit.load(tmp_path)


def test_a_file_of_weights_is_copied_as_it_is(written, tmp_path):
    save_folder(gpvit.load(written), tmp_path / "copy", Card(), weights=written / "model.safetensors")
    copied, original = (path / "model.safetensors" for path in (tmp_path / "copy", written))
    assert copied.read_bytes() == original.read_bytes()
    with pytest.raises(UserError, match=r"model\.onnx is no \.safetensors file"):
        save_folder(gpvit.load(written), tmp_path / "other", Card(), weights=tmp_path / "model.onnx")
