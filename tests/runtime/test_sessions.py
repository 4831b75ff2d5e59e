import sys

import numpy as np
import onnx
import pytest
from runtime.metadata import CLASSIFIER, DETECTOR, SEGMENTER, metadata
from runtime.tiny import WEIGHTS, model, write

from gpvit.errors import UserError
from gpvit.runtime import open_session
from gpvit.runtime.container import seal_onnx

IMAGES = np.random.default_rng(1).random((2, 3, 64, 96), np.float32)


@pytest.mark.parametrize("ending", [".onnx", ".xml"])
def test_a_graph_answers_in_every_format(tmp_path, ending):
    session = open_session(write(CLASSIFIER, tmp_path / f"model{ending}"), threads=1)
    logits = session.run(IMAGES)["logits"]
    assert np.abs(logits - IMAGES.mean((2, 3)) @ WEIGHTS.T).max() < 1e-5
    again = session.run(IMAGES[:1])["logits"]
    assert np.abs(again - logits[:1]).max() < 1e-5  # the first answer is not overwritten


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES.astype(np.float64), r"takes float32 of shape \(batch, channels, height, width\); got float64"),
        (IMAGES[0], r"got float32 \(3, 64, 96\)"),
        (IMAGES[:, :2], r"takes images of 3 channels; got \(2, 2, 64, 96\)"),
        (IMAGES[..., :4], "takes images of at least 8 pixels a side; got 64x4; enlarge them"),
        (IMAGES[:0], "got float32"),
        ((IMAGES * 255).astype(np.uint8), "got uint8"),
    ],
)
def test_images_that_the_graph_does_not_take_are_refused_before_it_runs(exported, images, message):
    with pytest.raises(UserError, match=message):
        open_session(exported["classification"]).run(images)


def test_a_fixed_size_is_the_only_one(tmp_path):
    session = open_session(write(SEGMENTER, tmp_path / "model.onnx", fixed_size=[64, 64]))
    with pytest.raises(UserError, match=r"takes images of 64x64 alone; got 64x96; resize them, or export .* --fixed"):
        session.run(IMAGES)


@pytest.mark.parametrize(
    ("kind", "changed", "message"),
    [
        (CLASSIFIER, {"outputs": ["logits", "grouping_1"]}, r"outputs \['logits'\], and not"),
        (CLASSIFIER, {"num_classes": 3, "label_names": ["a", "b", "c"]}, r"gives logits of shape \(2, 2\)"),
        (CLASSIFIER, {**{k: SEGMENTER[k] for k in ("task", "stride", "preprocessing")}}, "task segmentation"),
        (SEGMENTER, {"stride": 4}, r"gives logits of shape \(2, 2, 8, 12\)"),
        (DETECTOR, {"num_classes": 1, "label_names": ["cat"]}, "gives labels up to 2"),
    ],
)
def test_metadata_that_do_not_fit_the_graph_are_found_out(tmp_path, kind, changed, message):
    with pytest.raises(UserError, match=message):
        open_session(write(kind, tmp_path / "model.onnx", **changed)).run(IMAGES)


def test_what_fails_inside_the_runtime_is_told(tmp_path):
    session = open_session(write(CLASSIFIER, tmp_path / "model.onnx", in_chans=4))
    with pytest.raises(UserError, match=r"model\.onnx could not be computed for images of shape \(1, 4, 9, 9\): "):
        session.run(np.zeros((1, 4, 9, 9), np.float32))


def test_an_opset_that_the_runtime_does_not_know_is_named(tmp_path):
    core = onnx.load_model_from_string(model(CLASSIFIER))
    core.opset_import[0].version = 99
    (tmp_path / "model.onnx").write_bytes(seal_onnx(core.SerializeToString(), metadata(opset=99)))
    with pytest.raises(UserError, match=r"is of opset 99, and onnxruntime .* cannot run it: .*lower --opset"):
        open_session(tmp_path / "model.onnx")


@pytest.mark.parametrize(("ending", "library"), [(".onnx", "onnxruntime"), (".xml", "openvino")])
def test_a_missing_runtime_is_named(tmp_path, monkeypatch, ending, library):
    path = write(CLASSIFIER, tmp_path / f"model{ending}")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UserError, match=f"pip install {library}"):
        open_session(path)


def test_other_files_are_refused_by_name(tmp_path):
    with pytest.raises(UserError, match=r"weights\.pth: exported files that run without torch end in \.onnx or \.xml"):
        open_session(tmp_path / "weights.pth")
    with pytest.raises(FileNotFoundError, match=r"no exported file at .*model\.onnx"):
        open_session(tmp_path / "model.onnx")
