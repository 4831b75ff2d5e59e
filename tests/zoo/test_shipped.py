"""The weights that come with the package: what is said of them holds, and nothing is fetched."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torchvision.ops import box_iou

import gpvit
from gpvit.cli import main
from gpvit.data.synthetic.digits import digits_split
from gpvit.data.synthetic.scenes import Scene, digit_scene
from gpvit.io import sha256
from gpvit.zoo.catalog import MODELS, SHIPPED

NAMES = [f"{name}.{tag}" for name, entry in MODELS.items() for tag, weights in entry.weights.items() if weights.shipped]


def test_each_file_has_a_certificate_and_they_are_small_together():
    stems = {path.stem for path in SHIPPED.glob("*.safetensors")}
    assert stems == {path.stem for path in SHIPPED.glob("*.json")} == set(NAMES)
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 15e6


@pytest.mark.parametrize("name", NAMES)
def test_they_are_what_their_certificates_are_of_and_name_their_classes(name):
    certificate = json.loads((SHIPPED / f"{name}.json").read_text())
    assert certificate["verdict"] == "pass"
    assert certificate["weights"]["sha256"] == sha256(SHIPPED / f"{name}.safetensors")
    predictor = gpvit.Predictor(name)
    assert predictor.model.pretrained_cfg["label_names"][-1]
    assert all(parameter.isfinite().all() for parameter in predictor.model.parameters())


@pytest.mark.parametrize("name", [name for name in NAMES if MODELS[name.partition(".")[0]].task == "classification"])
def test_timm_creates_them(name):
    model, ours = timm.create_model(name, pretrained=True).eval(), gpvit.create_model(name).eval()
    images = torch.rand(2, *model.pretrained_cfg["input_size"])
    torch.testing.assert_close(model(images), ours(images), rtol=0, atol=0)


def ink_right(result, scene: Scene) -> float:
    """Give the part of the digits' ink that a segmenter labels rightly."""
    ink = scene.labels > 0
    return (result.labels[ink] == scene.labels[ink]).mean()


def digits_found(result, scene: Scene) -> float:
    """Give the part of the digits around which a detector finds a box of their class."""
    overlaps = box_iou(torch.from_numpy(scene.boxes), result.boxes).numpy()
    same = scene.digits[:, None] == np.array([int(result.class_names[label - 1]) for label in result.labels])
    return ((overlaps > 0.5) & same).any(1).mean()


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(".digit_scenes")])
def test_they_find_digits_in_scenes_of_another_seed(name):
    """Neither these digits nor these photographs are trained on, and no score counts these scenes."""
    judge = ink_right if MODELS[name.partition(".")[0]].task == "segmentation" else digits_found
    scenes = [digit_scene("test", index, seed=7, digits=(1, 4), digit_size=(20, 96)) for index in range(8)]
    results = gpvit.Predictor(name)([Image.fromarray(scene.image) for scene in scenes])
    assert np.mean([judge(result, scene) for result, scene in zip(results, scenes, strict=True)]) > 0.6


def test_digits_are_read():
    images, labels = digits_split("test")
    results = gpvit.Predictor("gpvit_nano.digits", batch_size=40)([Image.fromarray(image) for image in images[:40]])
    assert np.mean([result.top(1)[0][1] == label for result, label in zip(results, labels, strict=False)]) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_score_is_measured_again_by_the_certificates_command(name):
    command = shlex.split(json.loads((SHIPPED / f"{name}.json").read_text())["command"])
    root = re.search(r"--data\.root=(\S+)", " ".join(command))
    if root and not Path(root[1]).exists():
        pytest.skip(f"needs the data in {root[1]}")
    flags = [flag for flag in command[2:] if not flag.startswith("--certificate")]
    assert main(["evaluate", *flags]) == 0


def test_weights_are_taken_by_their_whole_name(capsys):
    detector = gpvit.create_model(
        "retinanet_gpvit_nano", channels=16, num_classes=2, backbone_weights="segformer_gpvit_nano.digit_scenes"
    )
    assert "tensors loaded into the backbone" in capsys.readouterr().err
    segmenter = gpvit.create_model("segformer_gpvit_nano.digit_scenes")
    given, own = (
        next(tensor for name, tensor in model.named_parameters() if name.endswith("stem.first.conv.weight"))
        for model in (segmenter, detector)
    )
    torch.testing.assert_close(own, given)
    with pytest.raises(ValueError, match="holds weights of gpvit_nano, not of gpvit_tiny"):
        gpvit.create_model("gpvit_tiny", weights="gpvit_nano.digits")


def test_their_cards_state_what_their_certificates_do(tmp_path):
    assert main(["hub", "save", "gpvit_nano.digits", str(tmp_path / "digits")]) == 0
    score = json.loads((SHIPPED / "gpvit_nano.digits.json").read_text())["scores"]["top1"]
    assert f"| top1 | {score:.2%} |" in (tmp_path / "digits" / "README.md").read_text()
