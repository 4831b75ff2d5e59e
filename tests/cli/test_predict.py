import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import gpvit
from gpvit import Predictor
from gpvit.cli import main
from gpvit.models.labelling import SlidingWindow, WholeImage

NAMES = ["ant", "[red]bee[/red]", "cat"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "own.safetensors"
    model = timm.create_model("gpvit_nano", num_classes=3, img_size=32)
    torch.nn.init.normal_(model.head.weight)
    gpvit.save(model, path, class_names=NAMES, inputs={"input_size": (3, 32, 32)})
    return str(path)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Five readable images in two folders, and two files that are none."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "more").mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.jpg", "d.png", "more/a.png", "more/e.bmp"):
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8)).save(folder / name)
    (folder / "c.jpg").write_text("no image")
    (folder / "more" / "cut.jpg").write_bytes((folder / "b.jpg").read_bytes()[:600])
    return folder


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "segmenter.safetensors"
    model = gpvit.create_model("segformer_gpvit_nano", num_classes=3, backbone_kwargs={"img_size": 64})
    colors = [[10, 20, 30], [200, 0, 0], [0, 200, 0]]
    inputs = {"fit_size": (128, 64), "divisor": 16, "label_colors": colors}
    gpvit.save(model, path, class_names=NAMES, inputs=inputs)
    return str(path)


def json_lines(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_table_names_images_and_classes(checkpoint, photos, capsys):
    assert main(["predict", checkpoint, str(photos / "a.png"), str(photos / "b.jpg"), "--top", "2"]) == 0
    text, errors = capsys.readouterr()
    results = Predictor(checkpoint)([photos / "a.png", photos / "b.jpg"])
    for result in results:
        assert result.source.name in text
        for name, _, probability in result.top(2):
            assert any(name in line and f"{probability:.1%}" in line for line in text.splitlines())
    assert len(text.split("%")) == 1 + 2 * 2
    assert errors == ""


def test_json_holds_what_python_gives(checkpoint, photos, capsys):
    assert main(["predict", checkpoint, str(photos / "[abd].*"), "--json", "--batch-size", "2"]) == 0
    predictor = Predictor(checkpoint)
    rows = json_lines(capsys)
    assert [row["source"] for row in rows] == [str(photos / name) for name in ("a.png", "b.jpg", "d.png")]
    for row in rows:
        expected = predictor(row["source"]).to_dict()
        assert [p["class_index"] for p in row["top"]] == [p["class_index"] for p in expected["top"]]
        assert row["top"][0]["probability"] == pytest.approx(expected["top"][0]["probability"], rel=1e-4)


def test_what_is_no_image_is_reported_and_the_rest_still_done(checkpoint, photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["predict", checkpoint, str(photos), "--json", "--out", str(out)]) == 1
    text, errors = capsys.readouterr()
    rows = [json.loads(line) for line in text.splitlines()]
    assert len(rows) == 5
    pictures = ["a_predicted-2.png", "a_predicted.png", "b_predicted.png", "d_predicted.png", "e_predicted.png"]
    assert sorted(path.name for path in out.iterdir()) == pictures
    assert sorted(row["picture"] for row in rows) == [str(out / name) for name in pictures]
    assert str(photos / "c.jpg") in errors
    assert str(photos / "more" / "cut.jpg") in errors
    assert "2 of 7 images could not be read" in errors


def test_a_segmenter_prints_the_area_of_each_class(segmenter, photos, capsys):
    assert main(["predict", segmenter, str(photos / "a.png"), str(photos / "b.jpg")]) == 0
    text, errors = capsys.readouterr()
    for result in Predictor(segmenter)([photos / "a.png", photos / "b.jpg"]):
        assert result.source.name in text
        for name, _, pixels, share in result.areas():
            assert any(
                name in line and f"{share:.1%}" in line and f"{pixels} pixels" in line for line in text.split("\n")
            )
    assert errors == ""


def test_a_segmenter_writes_figures_and_labels(segmenter, photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["predict", segmenter, str(photos), "--json", "--out", str(out)]) == 1
    text, errors = capsys.readouterr()
    rows = [json.loads(line) for line in text.splitlines()]
    assert len(rows) == 5
    assert sorted(path.name for path in out.iterdir()) == sorted(
        f"{name}_{kind}.png"
        for name, number in (("a", ""), ("a", "-2"), ("b", ""), ("d", ""), ("e", ""))
        for kind in (f"predicted{number}", f"labels{number}")
    )
    assert len({row[kind] for row in rows for kind in ("picture", "labels")}) == 10
    predictor = Predictor(segmenter)
    for row in rows:
        result = predictor(row["source"])
        assert {key: row[key] for key in ("source", "width", "height", "areas")} == result.to_dict()
        with Image.open(row["labels"]) as labels:
            assert labels.mode == "P"
            assert np.array_equal(np.asarray(labels), result.labels)
    assert str(photos / "c.jpg") in errors
    assert "2 of 7 images could not be read" in errors


@pytest.mark.parametrize(
    ("options", "method"),
    [
        (["--window", "64", "--overlap", "0.5"], SlidingWindow(64, 0.5)),
        (["--scales", "0.75,1.5", "--flip"], WholeImage((0.75, 1.5), flip=True)),
    ],
)
def test_a_segmenter_labels_as_it_is_told(options, method, segmenter, photos, capsys):
    assert main(["predict", segmenter, str(photos / "a.png"), "--json", *options]) == 0
    assert json_lines(capsys)[0]["areas"] == Predictor(segmenter, method=method)(photos / "a.png").to_dict()["areas"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--top", "3"], "segments images, which --top does not apply to"),
        (["--batch-size", "3", "--top", "2"], "--top, --batch-size"),
        (["--overlap", "0.5"], "add --window 512"),
        (["--window", "64", "--scales", "1.0"], "choose one"),
        (["--window", "100"], "as 104"),
    ],
)
def test_a_segmenter_refuses_what_is_not_for_it(options, message, segmenter, photos, capsys):
    assert main(["predict", segmenter, str(photos / "a.png"), *options]) == 1
    text, errors = capsys.readouterr()
    assert message in errors
    assert text == ""


@pytest.mark.parametrize("options", [["--window", "64"], ["--overlap", "0.5"], ["--scales", "1.0"], ["--flip"]])
def test_a_classifier_refuses_what_is_for_segmenters(options, checkpoint, photos, capsys):
    assert main(["predict", checkpoint, str(photos / "a.png"), *options]) == 1
    text, errors = capsys.readouterr()
    assert f"classifies images, which {options[0]} does not apply to" in errors
    assert text == ""


def test_random_weights_are_told(photos, capsys):
    assert main(["predict", "gpvit_nano", str(photos / "a.png"), "--device", "cpu"]) == 0
    text, errors = capsys.readouterr()
    assert "no weights" in errors
    assert text.count("%") == 5


def test_weights_of_a_named_model(photos, tmp_path, capsys):
    path = tmp_path / "nano.safetensors"
    gpvit.save(timm.create_model("gpvit_nano", num_classes=2), path)
    assert main(["predict", "gpvit_nano", str(photos / "a.png"), "--weights", str(path), "--json"]) == 0
    text, errors = capsys.readouterr()
    assert {p["class_name"] for p in json.loads(text)["top"]} == {"class 0", "class 1"}
    assert errors == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gpvit_nanoo", "a.png"], "gpvit_nano"),
        (["absent.safetensors", "a.png"], "absent.safetensors"),
        (["gpvit_nano", "absent.png"], "absent.png"),
        (["gpvit_nano", "absent*.png"], "matches nothing"),
        (["gpvit_nano", "a.png", "--top", "0"], "top is 0"),
        (["gpvit_nano", "a.png", "--batch-size", "0"], "batch_size is 0"),
        (["gpvit_nano", "a.png", "--device", "toaster"], "toaster"),
        (["gpvit_nano", "a.png", "--weights", "in1k"], "are published for gpvit_nano"),
    ],
)
def test_bad_input_is_told(arguments, message, photos, monkeypatch, capsys):
    monkeypatch.chdir(photos)
    assert main(["predict", *arguments]) == 1
    text, errors = capsys.readouterr()
    assert message in errors
    assert text == ""
