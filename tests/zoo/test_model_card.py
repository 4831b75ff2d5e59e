"""What a model card says: only what is known, and scores only with a certificate of the very weights."""

import json

import pytest
import yaml
from PIL import Image

import gpvit
from gpvit.errors import UserError
from gpvit.io import sha256
from gpvit.zoo.hub_folder import save_folder
from gpvit.zoo.model_card import Card


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "own.safetensors"
    gpvit.save(gpvit.create_model("gpvit_nano", num_classes=30), path, class_names=[f"kind {i}" for i in range(30)])
    return path


@pytest.fixture
def certificate(weights, tmp_path):
    facts = {
        "verdict": "pass",
        "faults": [],
        "scores": {"top1": 0.8125, "top5": 0.95, "loss": 0.5, "images": 360},
        "weights": {"sha256": sha256(weights)},
        "data": {"path": "digits", "images": 360},
        "versions": {"gpvit": "0.1.0", "torch": "2.15.0"},
        "date": "2026-12-01T04:00:00+00:00",
    }

    def write(**changes):
        path = tmp_path / "measured.json"
        path.write_text(json.dumps({**facts, **changes}))
        return path

    return write


def card_of(folder):
    _, metadata, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(metadata), text


def test_what_is_not_known_is_not_said(weights, tmp_path):
    gpvit.save(gpvit.load(weights), tmp_path / "mine")
    metadata, text = card_of(tmp_path / "mine")
    assert metadata == {
        "library_name": "timm",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "gpvit", "timm", "transformers"],
    }
    assert text.startswith("\n# mine\n\n`gpvit_nano` of [GPViT]")
    assert "30 classes: kind 0, " in text
    assert "kind 19 and 10 more." in text
    for line in ("is not stated.", "No licence is stated", "None are certified"):
        assert line in text


def test_scores_come_with_their_certificate(weights, certificate, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    card = Card("mit", "me/digits", certificate(), tmp_path / "photo.png")
    save_folder(gpvit.load(weights), tmp_path / "mine", card, weights)
    metadata, text = card_of(tmp_path / "mine")
    assert (metadata["license"], metadata["datasets"]) == ("mit", ["me/digits"])
    (result,) = metadata["model-index"][0]["results"]
    assert result["dataset"]["name"] == "digits"
    assert {each["type"]: each["value"] for each in result["metrics"]} == {"top1": 0.8125, "top5": 0.95}
    assert "| top1 | 81.25% |" in text
    assert "360 images of digits on 2026-12-01" in text
    assert (tmp_path / "mine/certificate.json").read_text() == certificate().read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": {"sha256": "0" * 64}}, "is of other weights: their SHA-256 is 000000000000"),
        ({"verdict": "fail", "faults": ["top1 is low"]}, r"certifies no score: \['top1 is low'\]"),
        ({"scores": 0.8}, r"measured\.json is no certificate; `gpvit evaluate MODEL --certificate FILE`"),
    ],
)
def test_other_certificates_are_refused_and_nothing_is_written(changes, message, weights, certificate, tmp_path):
    with pytest.raises(UserError, match=message):
        save_folder(gpvit.load(weights), tmp_path / "mine", Card(certificate=certificate(**changes)), weights)
    assert not list((tmp_path / "mine").iterdir())


def test_what_cannot_stand_in_a_card_is_told(weights, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(UserError, match=r"text\.png is not an image"):
        gpvit.save(gpvit.load(weights), tmp_path / "mine", card=Card(picture=tmp_path / "text.png"))
    with pytest.raises(UserError, match="license 'MIT License': name it as the hub does"):
        Card(license="MIT License")
    with pytest.raises(UserError, match="give one line of text"):
        Card(dataset="a\n---\nb")
