import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from runtime.metadata import CLASSIFIER, DETECTOR, SEGMENTER, metadata
from runtime.tiny import Classifier, Segmenter, write

import gpvit
import gpvit.runtime
from gpvit.data.transforms.classification import Preprocessing
from gpvit.errors import UserError
from gpvit.models.detection.inputs import RoundedResize
from gpvit.runtime.prepare import prepare

SIZES = [(97, 71), (64, 64), (31, 200), (300, 40), (640, 427)]


def noise(width, height, seed=0):
    """Blotches, so that neighbouring pixels differ and neighbouring cells do, too."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 3 + 1, width // 3 + 1, 3), np.uint8)
    return Image.fromarray(pixels).resize((width, height))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(
    ("input_size", "interpolation", "crop_pct"),
    [([3, 64, 64], "bicubic", 0.9), ([3, 64, 96], "bilinear", 0.875), ([1, 48, 48], "lanczos", 1.0)],
)
def test_a_classifiers_images_are_timms(size, input_size, interpolation, crop_pct):
    channels = {"mean": [0.5, 0.4, 0.3][: input_size[0]], "std": [0.2, 0.2, 0.3][: input_size[0]]}
    how = {**channels, "input_size": input_size, "interpolation": interpolation, "crop_pct": crop_pct}
    expected = Preprocessing(**how).transform()(noise(*size))
    facts = metadata(preprocessing={**how, "antialias": True}, in_chans=input_size[0])
    assert np.abs(prepare(noise(*size), facts)[0] - expected.numpy()).max() < 1e-6


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_detectors_images_are_its_own(size):
    how = DETECTOR["preprocessing"]
    transform = RoundedResize([how["max_size"][1]], how["max_size"][0], how["mean"], how["std"]).eval()
    pixels = torch.from_numpy(np.array(noise(*size))).permute(2, 0, 1) / 255
    batch, _ = transform([pixels])
    height, width = batch.image_sizes[0]
    inputs = prepare(noise(*size), metadata(DETECTOR))
    assert inputs.shape[2:] == (height, width)
    assert np.abs(inputs - batch.tensors[..., :height, :width].numpy()).max() < 1e-5


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_answers_are_those_of_the_model(exported, size):
    image = noise(*size)
    expected = gpvit.Predictor(Classifier())(image)
    classes = gpvit.runtime.Predictor(exported["classification"])(image)
    assert np.abs(classes.probabilities - expected.probabilities.numpy()).max() < 1e-6
    assert [each["class_name"] for each in classes.top(2)] == [each.class_name for each in expected.top(2)]
    labels = gpvit.runtime.Predictor(exported["segmentation"])(image).labels
    assert labels.shape == size[::-1]
    assert (labels != gpvit.Predictor(Segmenter())(image).labels).mean() < 1e-4
    found = gpvit.runtime.Predictor(exported["detection"])(image)
    same = gpvit.Predictor(exported["detection"])(image)
    assert found.labels.tolist() == same.labels.tolist() == [2, 1]
    assert np.abs(found.boxes - same.boxes.numpy()).max() < 1e-4
    assert np.abs(found.scores - same.scores.numpy()).max() < 1e-6
    assert (found.masks != same.masks.numpy()).mean() < 1e-4


def test_plain_data_are_those_of_the_command_line(exported):
    image = noise(97, 71)
    for path in exported.values():
        expected, given = gpvit.Predictor(path)(image).to_dict(), gpvit.runtime.Predictor(path)(image).to_dict()
        assert {"source": None, **given}.keys() == expected.keys()
        for key in ("top", "areas", "objects"):
            assert [each.keys() for each in given.get(key, [])] == [each.keys() for each in expected.get(key, [])]


def test_lists_and_gray_images_and_arrays_are_taken(exported):
    predictor = gpvit.runtime.Predictor(exported["classification"], threads=1)
    first, second = predictor([np.zeros((40, 40), np.uint8), noise(50, 60)])
    assert first.class_names == ("cat", "dog")
    assert second.probabilities.sum() == pytest.approx(1)


def test_bytes_are_prepared_without_normalising(tmp_path):
    path = write(CLASSIFIER, tmp_path / "model.onnx", input="uint8", outputs=["probabilities"])
    facts = metadata(input="uint8", outputs=["probabilities"])
    inputs = prepare(noise(97, 71), facts)
    assert (inputs.dtype, inputs.shape) == (np.uint8, (1, 32, 48, 3))
    with pytest.raises(UserError, match="has the inputs"):
        gpvit.runtime.Predictor(path)
    assert prepare(noise(97, 71), metadata(DETECTOR, input="uint8")).shape == (1, 71, 97, 3)
    small = metadata(SEGMENTER, input="uint8", outputs=["labels"])
    assert prepare(noise(97, 71), small).shape == (1, 64, 96, 3)


def test_the_module_prints_json(exported, tmp_path):
    noise(60, 50).save(tmp_path / "photo.png")
    command = [sys.executable, "-m", "gpvit.runtime", exported["detection"], tmp_path / "photo.png", "--score", "0"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    facts = json.loads(done.stdout)
    assert facts["source"].endswith("photo.png")
    assert [each["class_name"] for each in facts["objects"]] == ["dog", "cat"]
    failed = subprocess.run([*map(str, command[:4]), "nowhere.png"], capture_output=True, text=True, check=False)
    assert (failed.returncode, failed.stderr.startswith("gpvit.runtime: nowhere.png")) == (1, True)


def test_reading_loads_neither_torch_nor_what_comes_with_it(exported):
    heavy = {"torch", "timm", "lightning", "yaml", "lazy_loader", "torchvision"}
    opened = f"gpvit.runtime.Predictor({str(exported['segmentation'])!r})"
    code = f"import sys, gpvit.runtime; {opened}; print(*{heavy} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
