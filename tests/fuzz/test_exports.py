"""Exported files: their bytes damaged, spliced or cut, and every field of their metadata wrong under a true digest."""

import json

import pytest
from fuzz.damage import documents, files
from fuzz.property import holds
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from runtime.metadata import CLASSIFIER, DETECTOR, SEGMENTER, metadata
from runtime.tiny import model, write

import gpvit.runtime
from gpvit.inference.predictor import Predictor
from gpvit.runtime import container
from gpvit.runtime.metadata import Metadata

IMAGE = Image.linear_gradient("L").resize((40, 33))
KINDS = {kind["task"]: kind for kind in (CLASSIFIER, SEGMENTER, DETECTOR)}
ENDINGS = (".onnx", ".xml", ".pt2")


class Text(Metadata):
    """Metadata whose JSON is any text."""

    def __init__(self, text):
        object.__setattr__(self, "text", text)

    def to_json(self):
        return self.text


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """An export in every format, and what stands in each before it was sealed."""
    folder = tmp_path_factory.mktemp("sound")
    contents = {ending: write(CLASSIFIER, folder / f"model{ending}").read_bytes() for ending in ENDINGS}
    return contents, (folder / "model.bin").read_bytes()


def answer(path):
    if path.suffix == ".onnx":
        gpvit.runtime.Predictor(path, threads=1)(IMAGE)
    return Predictor(path, "cpu")(IMAGE)


@pytest.mark.parametrize("ending", ENDINGS)
@given(data=st.data())
def test_damaged_exports(sound, tmp_path, ending, data):
    contents, weights = sound
    content = data.draw(files({"": contents[ending], "other": contents[".onnx"]}))[1]
    (tmp_path / f"model{ending}").write_bytes(content)
    (tmp_path / "model.bin").write_bytes(weights)
    answered = holds(lambda: answer(tmp_path / f"model{ending}"), tmp_path)
    assert answered is None or content in contents.values()


@pytest.mark.parametrize("task", KINDS)
@given(data=st.data())
def test_wrong_metadata_of_exports(tmp_path, task, data):
    document = json.loads(metadata(KINDS[task]).to_json())
    text = json.dumps(data.draw(documents(document, {**document, "input": "uint8"})))
    path = tmp_path / "model.onnx"
    path.write_bytes(container.seal_onnx(model(KINDS[task]), Text(text)))
    holds(lambda: gpvit.runtime.Predictor(path, threads=1)(IMAGE), tmp_path)
    holds(lambda: Predictor(path, "cpu")(IMAGE), tmp_path)


@given(data=st.data())
def test_damaged_graphs_name_no_file_and_end_no_walk(tmp_path, data):
    """Under a true digest the walk itself meets the damage, and must end in a refusal or in sound fields."""
    core = data.draw(files({"": model(DETECTOR)}))[1]
    path = tmp_path / "model.onnx"
    path.write_bytes(container.seal_onnx(core, metadata(DETECTOR)))
    holds(lambda: container.read_onnx(path), tmp_path)
