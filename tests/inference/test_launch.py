"""`gpvit predict --devices`: several real processes on the CPU."""

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
from gpvit.inference.batch import Plan
from gpvit.inference.job import Job

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


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["segmenter", "detector"])
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
    options = ["--no-overlays", "--device", "cpu"]
    command = [sys.executable, "-m", "gpvit", "predict", *arguments, *options, "--devices", "2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(lambda: sum(len(path.read_bytes().splitlines()) for path in out.glob("predictions-*")) >= 6)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    parts = sorted(out.glob("predictions-*.jsonl"))
    with parts[0].open("ab") as file:
        file.write(b'{"index": 39, "fa')  # the power went in the middle of a line
    assert main(["predict", *arguments, *options, "--devices", "3"]) == 0  # with another number of processes
    assert len(list(out.glob("predictions-*.jsonl"))) == 3
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


@pytest.mark.slow  # processes load everything
def test_what_cannot_be_read_is_told_and_tried_again(models, photos, tmp_path, capfd):
    whole = (photos / "3.png").read_bytes()
    (photos / "3.png").write_bytes(whole[:100])
    arguments = [models / "classifier.safetensors", photos, "--out", tmp_path / "out", "--no-overlays", "--devices", 1]
    assert _predict(*arguments) == 1
    errors = capfd.readouterr().err
    assert f"{photos / '3.png'} is damaged" in errors
    assert "1 of 5 images could not be predicted; the same command retries them" in errors
    merged = tmp_path / "out" / "predictions.jsonl"
    assert [Path(line["source"]).name for line in _lines(merged)] == ["1.png", "2.png", "4.png", "5.png"]
    (photos / "3.png").write_bytes(whole)
    assert _predict(*arguments) == 0
    assert [Path(line["source"]).name for line in _lines(merged)] == [f"{i}.png" for i in range(1, 6)]


def test_processes_that_a_launcher_started_take_their_parts_and_the_last_merges(models, photos, tmp_path, monkeypatch):
    out = tmp_path / "out"
    arguments = [models / "classifier.safetensors", photos, "--out", out, "--devices", 2]
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("1", "0"):
        assert not (out / "predictions.jsonl").exists()
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("LOCAL_RANK", rank)
        assert _predict(*arguments) == 0
    assert [Path(line["source"]).name for line in _lines(out / "predictions.jsonl")] == [
        f"{i}.png" for i in range(1, 6)
    ]
    assert {path.name for path in out.glob("*.jsonl")} == {
        "predictions.jsonl", "predictions-0.jsonl", "predictions-1.jsonl",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--devices", "2"], "--devices needs --out FOLDER"),
        (["--ray", "auto"], "--ray needs --out FOLDER"),
        (["--devices", "0", "--out", "new"], "give 1 or more"),
        (["--devices", "1", "--ray", "auto", "--out", "new"], "or --ray alone"),
        (["--devices", "1", "--out", "used"], "holds notes.txt, but no predictions to resume"),
        (["--devices", "1", "--out", "begun", "--top", "2"], "differ in: top"),
    ],
)
def test_mistakes_are_reported(options, message, models, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "notes.txt").write_text("mine")
    if "begun" in options:
        Job("begun", Plan(str(models / "classifier.safetensors"), ()).settings(), sorted(map(str, photos.iterdir())))
    assert _predict(models / "classifier.safetensors", photos, *options) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new" / "predictions.jsonl").exists()


@pytest.mark.slow  # processes load everything
def test_a_killed_process_is_reported_and_the_others_go_on(models, tmp_path):
    photos, out = _photos(tmp_path / "photos", 40), tmp_path / "out"
    command = [sys.executable, "-m", "gpvit", "predict", str(models / "segmenter.safetensors"), str(photos)]
    options = ["--out", str(out), "--no-overlays", "--device", "cpu", "--devices", "2", "--workers", "0"]
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
