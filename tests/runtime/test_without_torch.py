"""The runtime in an environment that has numpy, Pillow and ONNX Runtime alone, against torch in this one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

import gpvit
from gpvit.data import load_photograph
from gpvit.export import export

NEEDED = ("numpy", "pillow", "onnxruntime")
LARGEST = 250  # MB of the environment; 176 were measured, of which a sixth is bytecode
MODELS = {
    "gpvit_nano": {"num_classes": 7, "img_size": 96},
    "segformer_gpvit_nano": {"num_classes": 7},
    "mask_rcnn_gpvit_nano": {"num_classes": 3, "min_size": 96, "max_size": 160},
}
SCRIPT = """
import importlib.util, sys
import numpy as np
from gpvit.runtime import Predictor

assert not [name for name in ("torch", "timm", "lightning", "yaml") if importlib.util.find_spec(name)]
out, model, *photos = sys.argv[1:]
answers = {}
for i, result in enumerate(Predictor(model)(photos)):
    for name in ("probabilities", "labels", "boxes", "scores", "masks"):
        if (value := getattr(result, name, None)) is not None:
            answers[f"{name}_{i}"] = value
np.savez(out, **answers)
"""


def run(python, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(Path(gpvit.__file__).parents[1]), "PYTHONNOUSERSITE": "1"}
    return subprocess.run([python, *map(str, arguments)], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The interpreter of a new environment with what the runtime needs."""
    folder = tmp_path_factory.mktemp("environment")
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, str(folder / "venv")], check=True)
    python = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    install = [*uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), *NEEDED]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no package can be fetched here, so there is no environment without torch: {done.stderr[-200:]}")
    return python


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for name in ("china", "cat", "camera"):
        load_photograph(name).save(folder / f"{name}.png")
    return sorted(folder.iterdir())


@pytest.mark.slow
def test_the_environment_is_small(python):
    site = next(python.parents[1].rglob("site-packages"))
    megabytes = sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) / 1e6
    print(f"{megabytes:.0f} MB")
    assert megabytes < LARGEST


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_answers_are_torchs(python, photos, tmp_path, name):
    torch.manual_seed(0)
    gpvit.save(gpvit.create_model(name, **MODELS[name]), tmp_path / "model.safetensors")
    export(tmp_path / "model.safetensors", tmp_path / "model.onnx")
    done = run(python, "-c", SCRIPT, tmp_path / "answers.npz", tmp_path / "model.onnx", *photos)
    assert done.returncode == 0, done.stderr
    answers = np.load(tmp_path / "answers.npz")
    for i, expected in enumerate(gpvit.Predictor(tmp_path / "model.safetensors", "cpu")(photos)):
        if name.startswith("mask_rcnn"):
            check_objects(
                {key: torch.from_numpy(answers[f"{key}_{i}"]) for key in ("boxes", "labels", "masks")}, expected
            )
        elif name.startswith("segformer"):
            assert (answers[f"labels_{i}"] != expected.labels).mean() < 1e-4
        else:
            probabilities = answers[f"probabilities_{i}"]
            assert np.abs(probabilities - expected.probabilities.numpy()).max() < 1e-5
            assert np.argsort(-probabilities).tolist() == [each.class_index for each in expected.top(7)]


def check_objects(found, expected):
    """Match objects one to one: of the same class, boxes and masks alike, but for one in a hundred."""
    assert len(found["boxes"]) == len(expected.boxes) > 0
    alike = (box_iou(found["boxes"], expected.boxes) > 0.99) & (found["labels"][:, None] == expected.labels)
    assert alike.any(0).float().mean() >= 0.99
    assert alike.any(1).float().mean() >= 0.99
    rows, columns = torch.where(alike)
    first = [int(torch.where(rows == row)[0][0]) for row in rows.unique()]
    same = [(found["masks"][rows[i]] == expected.masks[columns[i]]).float().mean() for i in first]
    assert torch.stack(same).min() > 0.99
