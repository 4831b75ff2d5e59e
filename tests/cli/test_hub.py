"""`gpvit hub save` and `push`, from weights to a model of the hub and back."""

import json

import pytest
from hub_server import serve_hub
from sklearn.datasets import load_sample_image

import gpvit
from gpvit.cli import main

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of huggingface_hub


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "own.safetensors"
    model = gpvit.create_model("gpvit_nano", num_classes=10, in_chans=1, img_size=32)
    gpvit.save(model, path, class_names=[str(digit) for digit in range(10)])
    return path


def test_a_folder_is_written_measured_and_pushed(weights, tmp_path, capsys):
    folder, certificate = tmp_path / "digits", tmp_path / "certificate.json"
    assert (
        main(["evaluate", str(weights), "--expect", "0.1", "--tolerance", "1", "--certificate", str(certificate)]) == 0
    )
    assert main(["hub", "save", str(weights), str(folder), "--license", "mit", "--certificate", str(certificate)]) == 0
    assert capsys.readouterr().out.splitlines()[-4:] == [
        str(folder / name) for name in ("README.md", "certificate.json", "config.json", "model.safetensors")
    ]
    assert main(["hub", "save", str(folder), str(folder), "--dataset", "digits of scikit-learn"]) == 0
    assert not (folder / "certificate.json").exists()
    with serve_hub(tmp_path / "cache") as hub:
        assert main(["hub", "push", str(folder), "me/digits", "--private", "--revision", "v1"]) == 0
        assert f"{hub.address}/me/digits/commit/" in capsys.readouterr().out
        photo = tmp_path / "flower.png"
        gpvit.data.images.Image.fromarray(load_sample_image("flower.jpg")).save(photo)
        answers = []
        for model in (str(weights), str(folder), "hf-hub:me/digits@v1"):
            assert main(["predict", model, str(photo), "--json"]) == 0
            answers.append(json.loads(capsys.readouterr().out))
        assert answers[0] == answers[1] == answers[2]
        assert main(["profile", "hf-hub:me/digits@v1", "--size", "32x32", "--in-chans", "1"]) == 0
        assert main(["evaluate", "hf-hub:me/digits@v1", "--certificate", str(certificate)]) == 1
        assert "nothing is published for hf-hub:me/digits@v1; say what it should score" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["psh"], "no action 'psh'; did you mean push?"),
        (["save", "gpvit_nano", "out"], "'gpvit_nano' names no trained weights"),
        (["save", "WEIGHTS", "out", "--picture", "WEIGHTS"], "own.safetensors is not an image"),
        (["save", "WEIGHTS", "WEIGHTS"], "own.safetensors is a file; name a folder"),
        (["push", ".", "me/mine"], ". has no config.json; `gpvit hub save MODEL FOLDER` writes"),
    ],
)
def test_mistakes_are_a_line(arguments, message, weights, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["hub", *(str(weights) if each == "WEIGHTS" else each for each in arguments)]) == 1
    assert message in capsys.readouterr().err
    assert [path for path in tmp_path.iterdir() if path != weights] == []


def test_both_explain_themselves(capsys):
    for action in ("save", "push"):
        with pytest.raises(SystemExit) as end:
            main(["hub", action, "--help"])
        assert end.value.code == 0
        assert f"gpvit hub {action}" in capsys.readouterr().out
