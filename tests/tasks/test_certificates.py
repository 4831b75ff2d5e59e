import hashlib
import json
from pathlib import Path

import pytest
import torch
from tasks.objects import Rectangles

import gpvit
from gpvit.data import Digits
from gpvit.tasks import ClassificationTask
from gpvit.tasks.certificates import Expectation, certify, compare, published, weights_file, write_certificate
from gpvit.train import build_trainer, fit
from gpvit.zoo.catalog import MODELS, CatalogEntry, Weights


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, dict[str, float]]:
    """Weights that know some digits, and their scores."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("run")
    task = ClassificationTask("gpvit_nano", mixup_alpha=0.0, cutmix_alpha=0.0, warmup_epochs=0)
    trainer = build_trainer(folder, accelerator="cpu", max_epochs=1, logger=False)
    summary = fit(trainer, task, Digits(image_size=32, batch_size=32))
    return folder / "best.safetensors", {name: summary["best"][f"val/{name}"] for name in ("top1", "top5")}


def test_own_weights_are_certified_with_all_that_is_needed_to_repeat_it(trained):
    path, score = trained[0], trained[1]["top1"]
    certificate = certify(str(path), "digits", score, tolerance=1e-6, device="cpu")
    assert (certificate["verdict"], certificate["faults"]) == ("pass", [])
    (row,) = certificate["compared"]
    assert (row["score"], row["expected"], row["agrees"]) == ("top1", score, True)
    assert row["measured"] == certificate["scores"]["top1"] == pytest.approx(score)
    assert score > 0.2  # it has learned
    assert certificate["weights"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert certificate["weights"]["bytes"] == path.stat().st_size
    assert certificate["data"] == {"path": "digits", "images": 500, "expected_images": None}
    assert {"gpvit", "torch", "torchvision", "timm", "python"} <= certificate["versions"].keys()
    assert certificate["versions"]["torch"] == torch.__version__
    assert certificate["hardware"]["device"] == "cpu"
    assert {"cpu", "cores", "system"} <= certificate["hardware"].keys()
    assert certificate["date"].endswith("+00:00")


def test_another_score_is_a_fault_but_not_within_the_tolerance(trained):
    path, score = trained[0], trained[1]["top1"]
    far, near = (certify(str(path), "digits", score - 0.03, tolerance, device="cpu") for tolerance in (0.02, 0.04))
    assert (far["verdict"], near["verdict"]) == ("fail", "pass")
    assert far["faults"] == [f"top1 is {score:.2%}, {score - 0.03:.2%} was expected, within 2.00%"]


def test_published_weights_are_held_to_what_is_published(trained, tmp_path, monkeypatch):
    path, scores = trained
    monkeypatch.setenv("GPVIT_CACHE", str(tmp_path))
    (tmp_path / "gpvit_nano.digits.safetensors").write_bytes(path.read_bytes())
    said = {"top1": 100 * scores["top1"], "top5": 100 * scores["top5"] - 1}
    entry = CatalogEntry("classification", "ours", {"digits": Weights("absent.pth", said)}, backbone="gpvit_nano")
    monkeypatch.setitem(MODELS, "gpvit_nano", entry)
    certificate = certify("gpvit_nano.digits", "digits", device="cpu")
    assert [row["agrees"] for row in certificate["compared"]] == [True, False]
    assert certificate["verdict"] == "fail"
    assert certificate["expectation"] == "published by the authors"
    assert certificate["weights"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("name", "scores", "images"),
    [
        ("gpvit_l1.in1k", {"top1": 0.805, "top5": 0.954}, 50_000),
        ("upernet_gpvit_l4.ade20k", {"miou": 0.525}, 2_000),
        ("mask_rcnn_gpvit_l2.coco_3x", {"box_ap": 0.514, "mask_ap": 0.451}, 5_000),
    ],
)
def test_what_is_published(name, scores, images):
    expectation = published(name)
    assert (dict(expectation.scores), expectation.images) == (scores, images)


def test_a_published_score_is_for_all_images():
    expectation = Expectation({"miou": 0.5}, 0.01, 2000, "")
    assert compare({"miou": 0.505, "images": 2000}, expectation)[1] == []
    assert compare({"miou": 0.505, "images": 1999}, expectation)[1] == [
        "1,999 images were evaluated; the score is for 2,000"
    ]


@pytest.mark.parametrize(
    ("name", "options", "data"),
    [
        ("segformer_gpvit_nano", {"num_classes": 11}, "digit_scenes"),
        ("retinanet_gpvit_nano", {"num_classes": 2, "channels": 16, "min_size": 64}, None),
    ],
)
def test_the_other_tasks_have_scores_of_their_own(name, options, data, tmp_path, monkeypatch):
    if data == "digit_scenes":
        few = gpvit.data.segmentation.DigitScenes(image_size=64, test_scenes=4)
        monkeypatch.setattr("gpvit.tasks.certificates.open_segmentation_data", lambda *_: few)
        metric, facts = "miou", few.preprocessing.to_dict()
    else:
        monkeypatch.setattr("gpvit.tasks.certificates.open_detection_data", lambda *_: Rectangles(masks=False))
        metric, facts = "box_ap", {}
    torch.manual_seed(0)
    gpvit.save(gpvit.create_model(name, **options), tmp_path / "model.safetensors", inputs=facts)
    certificate = certify(str(tmp_path / "model.safetensors"), "few", 0.0, 0.2, device="cpu")
    (row,) = certificate["compared"]
    assert (row["score"], certificate["verdict"], certificate["scores"]["images"]) == (metric, "pass", 4)


def test_a_certificate_is_written_whole(trained, tmp_path):
    target = tmp_path / "deep" / "c.json"
    write_certificate({"verdict": "pass"}, target)
    assert json.loads(target.read_text()) == {"verdict": "pass"}
    with pytest.raises(TypeError):
        write_certificate({"verdict": object()}, target)
    assert json.loads(target.read_text()) == {"verdict": "pass"}


def test_what_cannot_be_verified_is_refused(trained, tmp_path):
    path, _ = trained
    with pytest.raises(ValueError, match=r"nothing is published for .*: --expect 0\.81"):
        certify(str(path), "digits")
    with pytest.raises(ValueError, match="expect 81: give a score from 0 to 1"):
        certify(str(path), "digits", 81)
    with pytest.raises(ValueError, match="tolerance -1: give 0 or more"):
        certify(str(path), "digits", 0.8, -1)
    with pytest.raises(ValueError, match="no score 'miou' was measured; choose --metric of top1, top5"):
        certify(str(path), "digits", 0.8, metric="miou", device="cpu")
    with pytest.raises(FileNotFoundError, match="no such file of weights"):
        weights_file(str(tmp_path / "absent.safetensors"))
    with pytest.raises(ValueError, match="names no trained weights"):
        weights_file("gpvit_l1")
    with pytest.raises(ValueError, match="no weights 'in22k'"):
        published("gpvit_l1.in22k")
