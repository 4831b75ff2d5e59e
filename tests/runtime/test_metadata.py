import json

import pytest
from runtime.metadata import CLASSIFIER, DETECTOR, HOW, SEGMENTER, metadata

from gpvit.errors import UserError
from gpvit.runtime.metadata import SCHEMA, Metadata


@pytest.mark.parametrize("kind", [CLASSIFIER, SEGMENTER, DETECTOR], ids=lambda kind: kind["task"])
def test_what_is_written_is_read(kind):
    written = metadata(kind)
    assert Metadata.from_json(written.to_json(), "model.onnx") == written


def test_tuples_become_lists():
    assert Metadata.from_json(metadata(outputs=("logits",)).to_json(), "model.onnx").outputs == ["logits"]


@pytest.mark.parametrize("key", [*CLASSIFIER, "schema"])
def test_a_missing_key_is_named(key):
    given = {**CLASSIFIER, "schema": SCHEMA}
    del given[key]
    with pytest.raises(UserError, match=rf"^model\.onnx lacks {key} in its metadata; export the model again$"):
        Metadata.from_json(json.dumps(given), "model.onnx")


def changed(kind=CLASSIFIER, **facts):
    return json.dumps({**kind, "schema": SCHEMA, **facts})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "model.onnx is damaged: its metadata are no JSON"),
        ("[" * 100_000, "model.onnx is damaged: its metadata are no JSON"),
        ("[]", "metadata must be a mapping"),
        (changed(stride=float("nan")), "NaN is no number"),
        (changed(schema=SCHEMA + 1), f"schema {SCHEMA + 1}, and this gpvit reads up to {SCHEMA}; upgrade gpvit"),
        (changed(schema=0), "sets schema in its metadata to 0; it takes 1 to 1"),
        (changed(schema="1"), "sets schema in its metadata to '1'"),
        (changed(file="/etc/passwd"), "sets 'file' in its metadata, which gpvit"),
        (changed(task="captioning"), "it takes one of classification, segmentation, detection"),
        (changed(preprocessing={**CLASSIFIER["preprocessing"], "std": [1e-9] * 3}), "it takes numbers above 1e-6"),
        (changed(num_classes=None), "sets num_classes in its metadata to null"),
        (changed(num_classes=True), "sets num_classes in its metadata to True"),
        (changed(num_classes=3), "sets label_names in its metadata for 2 classes; it has 3"),
        (changed(label_colors=[[0, 0, 0]]), "sets label_colors in its metadata for 1 classes; it has 2"),
        (changed(label_names=["cat", 1]), "sets label_names"),
        (changed(in_chans=1), "for other than 1 channels"),
        (changed(fixed_size=[4, 4]), r"sets fixed_size to \[4, 4\], below its min_side of 8"),
        (changed(fixed_size=[64]), "it takes a height and a width"),
        (changed(outputs=["probabilities"]), "lacks logits in its outputs, which a graph for classification has"),
        (changed(outputs=["logits", "logits"]), "it takes names, each once"),
        (changed(input="uint8"), "lacks probabilities in its outputs"),
        (changed(weights_sha256="z" * 64), "it takes 64 hexadecimal digits"),
        (changed(preprocessing=HOW), "lacks interpolation, crop_pct, antialias in its preprocessing"),
        (changed(preprocessing={**CLASSIFIER["preprocessing"], "mean": [[0.5]] * 3}), "a number for each channel"),
        (changed(preprocessing={**CLASSIFIER["preprocessing"], "antialias": False}), "sets antialias to False"),
        (changed(preprocessing={**CLASSIFIER["preprocessing"], "interpolation": "box"}), "it takes one of bicubic"),
        (changed(thresholds={"score": 0.5}), "sets 'score' in its thresholds"),
        (changed(SEGMENTER, stride=None), "lacks the stride of its logits"),
        (changed(DETECTOR, thresholds={"score": 0.05, "nms": 0.5}), "lacks detections in its thresholds"),
        (changed(DETECTOR, thresholds={"score": 1e999, "nms": 0.5, "detections": 9}), "Infinity is no number"),
    ],
)
def test_what_cannot_be_is_refused_by_file_and_key(text, message):
    with pytest.raises(UserError, match=message) as refusal:
        Metadata.from_json(text, "model.onnx")
    assert str(refusal.value).startswith("model.onnx ")
