import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import gpvit
from gpvit import Predictor
from gpvit.cli import main
from gpvit.inference.inferers import SlidingWindow, WholeImage

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
    inputs = {"max_size": (128, 64), "size_divisor": 16, "label_colors": colors}
    gpvit.save(model, path, class_names=NAMES, inputs=inputs)
    return str(path)


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """Random, and surer of itself than random weights are at first."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "detector.safetensors"
    options = {"num_classes": 3, "backbone_kwargs": {"img_size": 64}, "min_size": 64, "max_size": 96}
    model = gpvit.create_model("mask_rcnn_gpvit_nano", **options)
    torch.nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=0.15)
    gpvit.save(model, path, class_names=NAMES)
    return str(path)


@pytest.fixture
def frames(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in (1, 2, 10):
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8)).save(folder / f"frame{number}.png")
    return folder


def json_lines(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_options_stand_anywhere(checkpoint, photos, capsys):
    words, printed = [checkpoint, str(photos / "a.png"), str(photos / "b.jpg")], set()
    for place in range(4):
        options = ["--top", "2", "--json"]
        assert main(["predict", *words[:place], *options, *words[place:]]) == 0
        printed.add(capsys.readouterr().out)
    assert main(["predict", "--top=2", checkpoint, "--json", "--", *words[1:]]) == 0
    assert printed == {capsys.readouterr().out}


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
    assert sorted(row["overlay"] for row in rows) == [str(out / name) for name in pictures]
    assert str(photos / "c.jpg") in errors
    assert str(photos / "more" / "cut.jpg") in errors
    assert "2 of 7 images could not be predicted" in errors


def test_file_names_that_no_encoding_has(checkpoint, photos, tmp_path, capsys):
    names = [os.fsdecode(b"p/M\xfcller.png"), "p/\N{CAT FACE}.png"]
    (tmp_path / "p").mkdir()
    for name in names:
        shutil.copy(photos / "a.png", tmp_path / name)
    assert main(["predict", checkpoint, str(tmp_path / "p")]) == 0
    assert r"M\udcfcller.png" in capsys.readouterr().out
    assert main(["predict", checkpoint, str(tmp_path / "p"), "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["source"] for line in lines] == [str(tmp_path / name) for name in names]


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
    assert len({row[kind] for row in rows for kind in ("overlay", "labels")}) == 10
    predictor = Predictor(segmenter)
    for row in rows:
        result = predictor(row["source"])
        assert {key: row[key] for key in ("source", "width", "height", "areas")} == result.to_dict()
        with Image.open(row["labels"]) as labels:
            assert labels.mode == "P"
            assert np.array_equal(np.asarray(labels), result.labels)
    assert str(photos / "c.jpg") in errors
    assert "2 of 7 images could not be predicted" in errors


@pytest.mark.parametrize(
    ("options", "method"),
    [
        (["--window", "64", "--overlap", "0.5"], SlidingWindow(64, 0.5)),
        (["--scales", "0.75,1.5", "--flip"], WholeImage((0.75, 1.5), flip=True)),
    ],
)
def test_a_segmenter_labels_as_it_is_told(options, method, segmenter, photos, capsys):
    assert main(["predict", segmenter, str(photos / "a.png"), "--json", *options]) == 0
    assert json_lines(capsys)[0]["areas"] == Predictor(segmenter, inferer=method)(photos / "a.png").to_dict()["areas"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--top", "3"], "segments images, which --top does not apply to"),
        (["--score", "0.3", "--top", "2"], "--top, --score"),
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


def test_a_detector_counts_the_objects_of_each_class(detector, photos, capsys):
    assert main(["predict", detector, str(photos / "a.png"), str(photos / "b.jpg"), "--score", "0.3"]) == 0
    text, errors = capsys.readouterr()
    for result in Predictor(detector)([photos / "a.png", photos / "b.jpg"]):
        counts = result.filtered(0.3).counts()
        assert len(counts) > 1
        for name, label, number, best in counts:
            assert any(
                name in line and f"{best:.2f}" in line and f"({label}), {number} object" in line
                for line in text.split("\n")
            )
    assert errors == ""
    assert main(["predict", detector, str(photos / "a.png"), "--score", "1", "--classes", "cat"]) == 0
    assert "nothing of score 1 or more" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ([], {"score": 0.5}),
        (["--score", "0.3", "--classes", "cat, ant"], {"score": 0.3, "classes": ["cat", "ant"]}),
        (["--score", "0", "--batch-size", "2"], {}),
    ],
)
def test_a_detectors_json_and_pictures_are_those_of_python(options, asked, detector, photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["predict", detector, str(photos / "[ad].png"), "--json", "--out", str(out), *options]) == 0
    predictor = Predictor(detector)
    rows = json_lines(capsys)
    assert [row.pop("overlay") for row in rows] == [str(out / "a_predicted.png"), str(out / "d_predicted.png")]
    for row, name in zip(rows, ("a", "d"), strict=True):
        expected = predictor(row["source"]).filtered(**asked)
        if "--batch-size" not in options:
            assert row == json.loads(json.dumps(expected.to_dict()))
            with Image.open(out / f"{name}_predicted.png") as picture:
                assert np.array_equal(np.asarray(picture), np.asarray(expected.draw()))
        assert len(row["objects"]) == pytest.approx(len(expected.boxes), abs=2)


def test_frames_come_in_the_order_of_their_numbers_and_all_objects_into_one_coco_file(detector, frames, capsys):
    path = frames.parent / "new" / "results.json"
    assert main(["predict", detector, str(frames), "--json", "--coco", str(path), "--score", "0.3"]) == 0
    rows = json_lines(capsys)
    names = ["frame1.png", "frame2.png", "frame10.png"]
    assert [(row["source"], row["image_id"]) for row in rows] == [
        (str(frames / name), number) for number, name in enumerate(names, start=1)
    ]
    expected = [
        row
        for number, name in enumerate(names, start=1)
        for row in Predictor(detector)(frames / name).filtered(0.3).to_coco(number)
    ]
    assert json.loads(path.read_text()) == expected
    assert "segmentation" in expected[0]
    assert [each.name for each in path.parent.iterdir()] == ["results.json"]


def test_images_named_by_a_number_keep_it_as_their_id_in_coco_files(detector, frames, capsys):
    for number in (1, 2, 10):
        (frames / f"frame{number}.png").rename(frames / f"{number * 7:012d}.png")
    path = frames.parent / "results.json"
    arguments = ["predict", detector, str(frames), "--coco", str(path), "--score", "0"]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert {row["image_id"] for row in json.loads(path.read_text())} == {7, 14, 70}
    assert "000000000070.png, image 70" in text
    (frames / "8.png").write_text("no image")
    assert main(arguments) == 1
    assert {row["image_id"] for row in json.loads(path.read_text())} == {7, 14, 70}
    assert "1 of 4 images could not be predicted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--top", "3"], "detects objects, which --top does not apply to"),
        (["--window", "64", "--flip"], "leave out --flip and --scales: they are for segmenters"),
        (["--overlap", "0.5"], "--overlap 0.5 needs windows"),
        (["--score", "1.5"], "score is 1.5"),
        (["--classes", "ant,catt"], "did you mean 'cat'"),
        (["--coco", "."], "--coco . is a folder"),
    ],
)
def test_a_detector_refuses_what_cannot_be(options, message, detector, photos, capsys):
    assert main(["predict", detector, str(photos / "a.png"), *options]) == 1
    text, errors = capsys.readouterr()
    assert message in errors
    assert text == ""


@pytest.mark.parametrize("options", [["--score", "0.5"], ["--classes", "ant"], ["--coco", "results.json"]])
def test_other_models_refuse_what_is_for_detectors(options, checkpoint, segmenter, photos, capsys):
    for model in (checkpoint, segmenter):
        assert main(["predict", model, str(photos / "a.png"), *options]) == 1
        assert f"{options[0]} does not apply to" in capsys.readouterr().err


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
        (["gpvit_nano", "a.png", "--weights", "in1k"], "gpvit_nano has no weights 'in1k'"),
    ],
)
def test_bad_input_is_told(arguments, message, photos, monkeypatch, capsys):
    monkeypatch.chdir(photos)
    assert main(["predict", *arguments]) == 1
    text, errors = capsys.readouterr()
    assert message in errors
    assert text == ""


def test_images_of_shards_are_predicted(checkpoint, tmp_path, capsys):
    for index, name in enumerate(("ant", "bee", "cat") * 2):
        folder = tmp_path / "data" / "train" / name
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(index).integers(0, 256, (40, 60, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    assert main(["shards", str(tmp_path / "data"), str(tmp_path / "shards")]) == 0
    capsys.readouterr()
    arguments = [checkpoint, str(tmp_path / "shards"), "--out", str(tmp_path / "out"), "--json"]
    assert main(["predict", *arguments]) == 0
    lines = json_lines(capsys)
    assert len(lines) == 6
    assert all(".tar" in line["source"] for line in lines)
    assert len({line["overlay"] for line in lines}) == 6
    assert all(Path(line["overlay"]).is_file() for line in lines)
