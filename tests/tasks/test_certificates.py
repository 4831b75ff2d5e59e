import hashlib

import pytest
import torch

import gpvit
from gpvit.tasks.certificates import certify, published_scores, weights_file

SCORES = {"top1": 0.25, "top5": 0.5, "images": 500}


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    gpvit.save(gpvit.create_model("gpvit_nano", num_classes=10), tmp_path / "best.safetensors")
    return tmp_path / "best.safetensors"


@pytest.mark.parametrize("is_folder", [False, True])
def test_scores_are_certified_with_all_that_is_needed_to_measure_them_again(weights, is_folder):
    named = weights.parent if is_folder else weights
    certificate = certify(str(named), "digits", SCORES, {"top1": 0.2501}, 0.002, None, torch.device("cpu"))
    assert (certificate["verdict"], certificate["faults"], certificate["scores"]) == ("pass", [], SCORES)
    (row,) = certificate["compared"]
    assert (row["score"], row["measured"], row["expected"], row["agrees"]) == ("top1", 0.25, 0.2501, True)
    assert certificate["weights"]["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert certificate["weights"]["bytes"] == weights.stat().st_size
    assert certificate["data"] == {"path": "digits", "images": 500, "expected_images": None}
    assert {"gpvit", "torch", "torchvision", "timm", "python"} <= certificate["versions"].keys()
    assert certificate["versions"]["torch"] == torch.__version__
    assert certificate["hardware"]["device"] == "cpu"
    assert {"cpu", "cores", "system"} <= certificate["hardware"].keys()
    assert certificate["date"].endswith("+00:00")


def test_published_weights_are_their_converted_file(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("GPVIT_CACHE", str(tmp_path))
    weights.rename(tmp_path / "gpvit_l1.in1k.safetensors")
    assert weights_file("gpvit_l1.in1k") == tmp_path / "gpvit_l1.in1k.safetensors"


@pytest.mark.parametrize(
    ("expected", "tolerance", "images", "faults"),
    [
        ({"top1": 0.28}, 0.02, None, ["top1 is 25.00%, 28.00% was expected, within 2.00%"]),
        ({"top1": 0.28, "top5": 0.47}, 0.03, 500, []),  # at the edge
        ({"top1": 0.25}, 0.0, 2000, ["500 images were evaluated; the score is for 2,000"]),
    ],
)
def test_what_does_not_agree_is_a_fault(expected, tolerance, images, faults, weights):
    certificate = certify(str(weights), "digits", SCORES, expected, tolerance, images, torch.device("cpu"))
    assert (certificate["faults"], certificate["verdict"]) == (faults, "fail" if faults else "pass")


@pytest.mark.parametrize(
    ("name", "scores", "images"),
    [
        ("gpvit_l1.in1k", {"top1": 0.805, "top5": 0.954}, 50_000),
        ("upernet_gpvit_l4.ade20k", {"miou": 0.525}, 2_000),
        ("mask_rcnn_gpvit_l2.coco_3x", {"box_ap": 0.514, "mask_ap": 0.451}, 5_000),
    ],
)
def test_what_is_published(name, scores, images):
    assert published_scores(name) == (scores, images)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda: certify("", "", SCORES, {"miou": 0.8}, 0.002, None, torch.device("cpu")),
            "no score 'miou' was measured; choose --metric of top1",
        ),
        (lambda: published_scores("gpvit_l1.in22k"), "gpvit_l1 has no weights 'in22k'"),
        (lambda: published_scores(__file__), "nothing is published for .*: --expect 0.81"),
    ],
)
def test_what_cannot_be_compared_is_refused(ask, message):
    with pytest.raises(ValueError, match=message):
        ask()
