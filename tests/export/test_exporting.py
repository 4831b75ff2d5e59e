import dataclasses
import errno

import onnxruntime
import pytest
import timm
import torch

from gpvit.errors import UserError
from gpvit.export import export, exporting
from gpvit.export.formats import FORMATS
from gpvit.runtime.container import read_onnx


def test_a_graph_answers_as_its_model_at_any_size(classifier, exported):
    path, metadata = exported
    session = onnxruntime.InferenceSession(path)
    assert [each.name for each in session.get_outputs()] == metadata.outputs
    images = torch.rand(5, 3, 41, 67)
    logits, *maps = session.run(None, {"images": images.numpy()})
    with torch.inference_mode():
        assert torch.allclose(torch.from_numpy(logits), classifier(images), atol=1e-5)
        expected = [both for pair in classifier.group_maps(images).values() for both in pair]
    for found, own in zip(maps, expected, strict=True):
        assert torch.allclose(torch.from_numpy(found), own, atol=1e-5)


def test_the_file_says_what_it_holds(exported):
    path, metadata = exported
    assert read_onnx(path)[0] == metadata
    assert {row["size"] for row in metadata.parity} == {"224x224", "64x96", "97x131", "200x333"}
    assert all(row["difference"] < 1e-5 for row in metadata.parity)
    assert b"/src/gpvit" not in path.read_bytes()


@pytest.mark.parametrize(
    ("path", "settings", "message"),
    [
        (".", {}, "folder"),
        ("model.bin", {}, "endings are .onnx"),
        ("model.onnx", {"format": "pt2"}, "endings are .onnx"),
        ("model.onnx", {"opset": 17}, "18 to 23"),
        ("model.onnx", {"precision": "bf16"}, "in fp32"),
        ("model.onnx", {"fixed": (0, 32)}, "height and a width"),
        ("model.onnx", {"fixed": (16, 32)}, "32 pixels or more"),
    ],
)
def test_what_cannot_be_is_told_and_nothing_written(classifier, tmp_path, path, settings, message):
    with pytest.raises(UserError, match=message):
        export(classifier, tmp_path / path, **settings)
    assert list(tmp_path.iterdir()) == []


def test_an_exported_file_is_no_model_to_export(exported, tmp_path):
    with pytest.raises(UserError, match="is an exported file already"):
        export(exported[0], tmp_path / "again.onnx")


def test_a_network_for_one_size_says_so(tmp_path):
    model = timm.create_model("vit_tiny_patch16_224", depth=1)
    with pytest.raises(UserError, match=r"takes no images of 150x203; .*--fixed 224x224"):
        export(model, tmp_path / "vit.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_classes_or_groups_is_refused(classifier, tmp_path):
    with pytest.raises(UserError, match="no classifier"):
        export(timm.create_model("gpvit_nano", num_classes=0), tmp_path / "model.onnx")
    with pytest.raises(UserError, match="no group propagation block"):
        export(timm.create_model("resnet18"), tmp_path / "model.onnx", groups=True)


def test_weights_of_another_are_not_written_over(classifier, tmp_path):
    (tmp_path / "model.bin").write_text("precious")
    with pytest.raises(UserError, match="is there already"):
        export(classifier, tmp_path / "model.xml")


def test_a_full_disk_is_named_and_leaves_nothing(classifier, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setitem(exporting.FORMATS, "onnx", dataclasses.replace(FORMATS["onnx"], convert=lambda *_: ()))
    monkeypatch.setattr(exporting, "save", fail)
    monkeypatch.setattr(exporting, "trace", lambda *_: None)
    with pytest.raises(OSError, match=r"No space left on device: .*model\.onnx"):
        export(classifier, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
