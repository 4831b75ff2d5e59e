"""Files of weights: the authors' and ours, their bytes damaged, and every field of what they hold wrong."""

import io
import json
import struct

import pytest
import torch
from fuzz.damage import documents, files
from fuzz.property import holds
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from timm.models import save_for_hf

import gpvit
from gpvit.inference.metadata import task_of
from gpvit.inference.predictor import Predictor
from gpvit.io import sha256
from gpvit.zoo.hub import convert_file
from gpvit.zoo.hub_folder import save_folder
from gpvit.zoo.model_card import Card

IMAGE = Image.linear_gradient("L").resize((32, 32))
LOCAL, GROUP = {"kind": "local", "num_heads": 2}, {"kind": "group", "num_groups": 2, "num_heads": 2}
TINY = {"img_size": 32, "embed_dim": 8, "blocks": [LOCAL, GROUP] * 6}
MODELS = {
    "gpvit_nano": {**TINY, "blocks": [LOCAL, GROUP], "pool_heads": 2},
    "segformer_gpvit_nano": {"backbone_kwargs": TINY, "decoder_kwargs": {"channels": 8}},
    "retinanet_gpvit_nano": {"backbone_kwargs": {**TINY, "embed_dim": 24}, "channels": 8},
}


class Sound(dict):  # of megabytes: a failed test must not print them
    __repr__ = object.__repr__


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A small file of ours for each task: its length and the header, what it says of itself, and the tensors."""
    found = Sound()
    for name, arguments in MODELS.items():
        path = tmp_path_factory.mktemp(name) / "sound.safetensors"
        gpvit.save(gpvit.create_model(name, num_classes=2, **arguments), path, ["cat", "dog"])
        content = path.read_bytes()
        end = 8 + struct.unpack("<Q", content[:8])[0]
        header = json.loads(content[8:end])
        found[name] = header, json.loads(header.pop("__metadata__")["gpvit"]), content[end:]
    return found


def written(header, description, tensors) -> bytes:
    text = json.dumps({"__metadata__": {"gpvit": json.dumps(description)}, **header}).encode()
    return struct.pack("<Q", len(text)) + text + tensors


def predict(path):
    predictor = Predictor(path, "cpu")
    return predictor if task_of(predictor.model) == "detection" else predictor(IMAGE)  # a detector takes its time


@pytest.mark.parametrize("name", MODELS)
@given(data=st.data())
def test_wrong_metadata(sound, tmp_path, name, data):
    header, description, tensors = sound[name]
    path = tmp_path / "weights.safetensors"
    path.write_bytes(written(header, data.draw(documents(description)), tensors))
    holds(lambda: predict(path), tmp_path, "weights may be damaged")


@pytest.mark.parametrize(
    "inputs",
    [
        {"input_size": [32, 32]},
        {"input_size": [3, None, 32]},
        {"input_size": [3, 10**6, 10**6]},
        {"mean": [0.5, 0.5]},
        {"crop_pct": [0.9]},
        {"label_names": ["cat"]},
        {"label_colors": [[0, 0], [1, 1]]},
        {"category_ids": [1, 1]},
    ],
    ids=str,
)
def test_found_metadata(sound, tmp_path, inputs):
    header, description, tensors = sound["gpvit_nano"]
    path = tmp_path / "weights.safetensors"
    path.write_bytes(written(header, {**description, "inputs": {**description["inputs"], **inputs}}, tensors))
    assert holds(lambda: predict(path), tmp_path) is None


def test_what_is_null_is_not_said(sound, tmp_path):
    header, description, tensors = sound["segformer_gpvit_nano"]
    path = tmp_path / "weights.safetensors"
    path.write_bytes(written(header, {**description, "inputs": None, "version": None}, tensors))
    assert predict(path).class_names == ("class 0", "class 1")


def test_a_position_embedding_is_not_resized_without_bound(sound, tmp_path):
    header, description, tensors = sound["gpvit_nano"]
    path = tmp_path / "weights.safetensors"
    path.write_bytes(written(header, {**description, "kwargs": {**description["kwargs"], "img_size": 10**6}}, tensors))
    assert holds(lambda: predict(path), tmp_path) is None


@given(data=st.data())
def test_damaged_safetensors(sound, tmp_path, data):
    path = tmp_path / "weights.safetensors"
    contents = {name: written(*parts) for name, parts in sound.items()}
    path.write_bytes(data.draw(files(contents))[1])
    holds(lambda: predict(path), tmp_path, "weights may be damaged")


def official(tensors) -> bytes:
    buffer = io.BytesIO()
    torch.save({"meta": {"epoch": 1}, "state_dict": tensors}, buffer)
    return buffer.getvalue()


NAMES = ["backbone.patch_embed.projection.weight", "backbone.pos_embed", "backbone.layers.0.qkv.weight", "head.fc.bias"]
TENSORS = {
    name: torch.ones(shape) for name, shape in zip(NAMES, [(4, 3, 8, 8), (1, 16, 4), (12, 4), (2,)], strict=True)
}


@given(content=files({"": official(TENSORS)}).map(lambda file: file[1]) | documents(TENSORS).map(official))
@example(content=official({**TENSORS, "backbone.pos_embed": None}))
@example(content=official({NAMES[0]: TENSORS[NAMES[0]]}))
def test_damaged_official_files(tmp_path, content):
    path = tmp_path / "official.pth"
    path.write_bytes(content)
    holds(lambda: gpvit.create_model("gpvit_nano", weights=path), tmp_path)
    holds(lambda: convert_file(path, tmp_path / "new.safetensors"), tmp_path)


@pytest.fixture(scope="module")
def hub_folder(tmp_path_factory):
    """A folder that timm wrote, of which only the configuration says what it holds; beside it, a file of ours."""
    folder = tmp_path_factory.mktemp("hub") / "theirs"
    model = gpvit.create_model("gpvit_nano", num_classes=2, **MODELS["gpvit_nano"])
    save_for_hf(model, folder, safe_serialization=True, model_config={"label_names": ["cat", "dog"]})
    gpvit.save(model, folder.parent / "ours.safetensors")
    return folder, (folder / "config.json").read_bytes()


@given(data=st.data())
def test_a_wrong_configuration_of_a_hub_folder(hub_folder, data):
    folder, content = hub_folder
    damaged = files({"": content}).map(lambda file: file[1])
    wrong = documents(json.loads(content)).map(lambda config: json.dumps(config).encode())
    (folder / "config.json").write_bytes(data.draw(damaged | wrong))
    holds(lambda: predict(folder), folder, "weights may be damaged")


@given(
    certificate=documents(
        {
            "verdict": "pass",
            "scores": {"top1": 0.5},
            "weights": {"sha256": ""},
            "data": {"path": "digits", "images": 3},
            "versions": {"gpvit": "0.1.0", "torch": "2.15.0"},
            "date": "2026-12-01",
        }
    )
)
def test_a_wrong_certificate(hub_folder, tmp_path, certificate):
    weights = hub_folder[0].parent / "ours.safetensors"
    if isinstance(certificate, dict) and isinstance(certificate.get("weights"), dict):
        certificate["weights"]["sha256"] = sha256(weights)
    (tmp_path / "certificate.json").write_text(json.dumps(certificate))
    card, out = Card(certificate=tmp_path / "certificate.json"), hub_folder[0].parent / "new"
    holds(lambda: save_folder(gpvit.load(weights), out, card, weights), tmp_path)
