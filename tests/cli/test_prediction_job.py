"""`gpvit predict --devices`: several real processes on the CPU."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gpvit
from gpvit.cli import main

NAMES = ["ant", "bee", "cat"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A classifier, a segmenter and a detector of random weights."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    classifier = gpvit.create_model("gpvit_nano", num_classes=3, img_size=32)
    torch.nn.init.normal_(classifier.head.weight)
    gpvit.save(classifier, folder / "classifier.safetensors", NAMES, {"input_size": (3, 32, 32)})
    segmenter = gpvit.create_model("segformer_gpvit_nano", num_classes=3, backbone_kwargs={"img_size": 64})
    gpvit.save(segmenter, folder / "segmenter.safetensors", NAMES, {"max_size": (128, 64), "size_divisor": 16})
    options = {"num_classes": 3, "backbone_kwargs": {"img_size": 64}, "min_size": 64, "max_size": 96}
    detector = gpvit.create_model("mask_rcnn_gpvit_nano", **options)
    torch.nn.init.normal_(detector.roi_heads.box_predictor.cls_score.weight, std=0.15)
    gpvit.save(detector, folder / "detector.safetensors", NAMES)
    return folder


@pytest.fixture
def photos(tmp_path):
    return _photos(tmp_path / "photos", 5)


def _photos(folder: Path, count: int) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(count):
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8)).save(folder / f"{index + 1}.png")
    return folder


def _lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _predict(*arguments: object) -> int:
    return main(["predict", *map(str, arguments), "--device", "cpu"])


@pytest.mark.parametrize("kind", [pytest.param("segmenter", marks=pytest.mark.slow), "detector"])
def test_two_processes_write_what_one_does(kind, models, photos, tmp_path, capsys):
    model, out = models / f"{kind}.safetensors", tmp_path / "out"
    more = ["--coco", tmp_path / "one.json", "--score", "0.3"] if kind == "detector" else []
    assert _predict(model, photos, "--out", out, "--json", *more) == 0
    expected = capsys.readouterr().out
    pictures = {path.name: path.read_bytes() for path in out.iterdir()}
    out.rename(tmp_path / "one")
    more = ["--coco", tmp_path / "two.json", "--score", "0.3"] if kind == "detector" else []
    assert _predict(model, photos, "--out", out, "--json", "--devices", "2", *more) == 0
    assert capsys.readouterr().out == expected == (out / "predictions.jsonl").read_text()
    assert {name: (out / name).read_bytes() for name in pictures} == pictures
    if kind == "detector":
        assert (tmp_path / "two.json").read_bytes() == (tmp_path / "one.json").read_bytes()


@pytest.mark.slow  # processes load everything
def test_killed_in_the_middle_and_continued_each_image_comes_once(models, tmp_path, capsys):
    photos, out = _photos(tmp_path / "photos", 40), tmp_path / "out"
    arguments = [str(models / "segmenter.safetensors"), str(photos), "--out", str(out)]
    options = ["--no-pictures", "--device", "cpu"]
    command = [sys.executable, "-m", "gpvit", "predict", *arguments, *options, "--devices", "2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(lambda: sum(len(path.read_bytes().splitlines()) for path in out.glob("predictions-*")) >= 6)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    parts = sorted(out.glob("predictions-*.jsonl"))
    _wait(lambda: not _writing(parts))  # its processes notice and end, too
    with parts[0].open("ab") as file:
        file.write(b'{"index": 39, "fa')  # the power went in the middle of a line
    before = {path: path.read_bytes() for path in parts}
    done = sum(content.count(b"\n") for content in before.values())
    assert 6 <= done < 40
    assert main(["predict", *arguments, *options, "--devices", "3"]) == 0  # with another number of processes
    for path, content in before.items():
        assert path.read_bytes().startswith(content[: content.rfind(b"\n") + 1])
    indices = [line["index"] for path in out.glob("predictions-*.jsonl") for line in _lines(path)]
    assert sorted(indices) == list(range(40))
    assert len(list(out.glob("*_labels.png"))) == 40
    capsys.readouterr()
    assert main(["predict", *arguments[:2], "--json", "--device", "cpu"]) == 0
    alone = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    together = _lines(out / "predictions.jsonl")
    assert [{k: v for k, v in line.items() if k != "labels"} for line in together] == alone


def _wait(condition) -> None:
    end = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def _writing(paths: list[Path]) -> bool:
    for path in paths:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False


@pytest.mark.slow  # processes load everything
def test_what_cannot_be_read_is_told_and_tried_again(models, photos, tmp_path, capfd):
    whole = (photos / "3.png").read_bytes()
    (photos / "3.png").write_bytes(whole[:100])
    arguments = [models / "classifier.safetensors", photos, "--out", tmp_path / "out", "--no-pictures", "--devices", 1]
    assert _predict(*arguments) == 1
    errors = capfd.readouterr().err
    assert f"{photos / '3.png'} is damaged" in errors
    assert "1 of 5 images could not be read; the same command tries these again" in errors
    merged = tmp_path / "out" / "predictions.jsonl"
    assert [Path(line["source"]).name for line in _lines(merged)] == ["1.png", "2.png", "4.png", "5.png"]
    (photos / "3.png").write_bytes(whole)
    assert _predict(*arguments) == 0
    assert [Path(line["source"]).name for line in _lines(merged)] == [f"{i}.png" for i in range(1, 6)]


def test_images_of_shards_are_predicted(models, tmp_path, capsys):
    for index, name in enumerate(("ant", "bee", "cat") * 2):
        folder = tmp_path / "data" / "train" / name
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(index).integers(0, 256, (40, 60, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    assert main(["shards", str(tmp_path / "data"), str(tmp_path / "shards")]) == 0
    capsys.readouterr()
    model, out = models / "classifier.safetensors", tmp_path / "out"
    assert _predict(model, tmp_path / "shards", "--out", out, "--devices", 1) == 0
    lines = _lines(out / "predictions.jsonl")
    assert len(lines) == 6
    assert all(".tar" in line["source"] for line in lines)
    assert len({line["picture"] for line in lines}) == 6
    assert all(Path(line["picture"]).is_file() for line in lines)


def test_processes_that_a_launcher_started_take_their_shares_and_the_last_merges(models, photos, tmp_path, monkeypatch):
    out = tmp_path / "out"
    arguments = [models / "classifier.safetensors", photos, "--out", out, "--devices", 1, "--num-nodes", 2]
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    for rank in ("1", "0"):
        assert not (out / "predictions.jsonl").exists()
        monkeypatch.setenv("RANK", rank)
        assert _predict(*arguments) == 0
    assert [Path(line["source"]).name for line in _lines(out / "predictions.jsonl")] == [
        f"{i}.png" for i in range(1, 6)
    ]
    assert {path.name for path in out.glob("*.jsonl")} == {
        "predictions.jsonl", "predictions-0.jsonl", "predictions-1.jsonl",
    }  # fmt: skip
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert _predict(*arguments) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--devices", "2"], "needs --out FOLDER"),
        (["--devices", "0", "--out", "new"], "give 1 or more"),
        (["--num-nodes", "2", "--out", "new"], "is for --devices"),
        (["--devices", "1", "--num-nodes", "2", "--out", "new"], "set NODE_RANK"),
        (["--devices", "1", "--out", "used"], "holds notes.txt, but no predictions to go on with"),
        (["--devices", "1", "--out", "begun", "--top", "2"], "differ in: top"),
    ],
)
def test_mistakes_are_told(options, message, models, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "notes.txt").write_text("mine")
    if "begun" in options:
        assert _predict(models / "classifier.safetensors", photos, "--devices", 1, "--out", "begun") == 0
    assert _predict(models / "classifier.safetensors", photos, *options) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new" / "predictions.jsonl").exists()


@pytest.mark.slow  # processes load everything
def test_a_killed_process_is_told_and_the_others_go_on(models, tmp_path, monkeypatch):
    photos, out = _photos(tmp_path / "photos", 40), tmp_path / "out"
    command = [sys.executable, "-m", "gpvit", "predict", str(models / "segmenter.safetensors"), str(photos)]
    options = ["--out", str(out), "--no-pictures", "--device", "cpu", "--devices", "2"]
    process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    _wait(lambda: (out / "predictions-1.jsonl").is_file())
    (child,) = [pid for pid in _children(process.pid) if str(out / "predictions-1.jsonl") in _open_files(pid)]
    os.kill(child, signal.SIGKILL)
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == 1
    assert "process 1 was ended by SIGKILL" in errors
    assert "of 40 images are missing: run the same command again" in errors
    assert len(_lines(out / "predictions-0.jsonl")) == 20


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _open_files(pid: int) -> list[str]:
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(os.readlink(link))
        except OSError:
            continue
    return found
