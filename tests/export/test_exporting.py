import onnxruntime
import pytest
import torch

from gpvit.errors import UserError
from gpvit.export import export
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
