"""The demo, from the command line to the report, on its shortest setting."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml
from PIL import Image

import gpvit
from gpvit.cli import main
from gpvit.data import Digits
from gpvit.data.detection import DigitScenes as DetectionScenes
from gpvit.data.segmentation import DigitScenes as SegmentationScenes
from gpvit.data.synthetic.photographs import photograph_credit
from gpvit.tasks.evaluate import evaluate

RUNS = ("run", "segmentation", "detection")
CHARTS = 2 + 1 + 4 + 4 + 2  # of the digits, their confusion, labels, boxes, and cost


class Page(HTMLParser):
    """Collects what a test asks about."""

    def __init__(self, text):
        super().__init__()
        self.links, self.anchors, self.images, self.tags = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        if "id" in attributes:
            self.anchors.append(attributes["id"])
        if tag == "a":
            self.links.append(attributes["href"])
        if tag == "img":
            assert attributes["alt"]
            self.images.append(attributes["src"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("demo") / "with space"


@pytest.fixture(scope="module")
def said(folder):
    """Run the demo over the remains of an earlier one, and return what it prints."""
    for name in RUNS:
        (folder / name).mkdir(parents=True)
        (folder / name / "config.yaml").write_text("data: {class: Digits}")
        (folder / name / "boxes.csv").write_text("old")
    (folder / "report.html").write_text("old")
    with pytest.MonkeyPatch.context() as patch:
        printed = io.StringIO()
        patch.setattr("sys.stdout", printed)
        assert main(["demo", "--out", str(folder), "--seed", "3", "--quick"]) == 0
    return printed.getvalue()


@pytest.fixture(scope="module")
def page(said, folder):
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def figures(said, folder):
    return json.loads((folder / "metrics.json").read_text())


def scores_of(run, data):
    """Score the weights of a run once more, on the data that its settings tell."""
    options = yaml.safe_load((run / "config.yaml").read_text())["data"]
    return evaluate(gpvit.load(run / "last.safetensors"), data(**{k: v for k, v in options.items() if k != "class"}))


def test_it_says_where_the_report_lies(said, folder):
    lines = said.splitlines()
    assert lines[-1] == str(folder / "report.html")
    assert [line[0] for line in lines if " of 3: " in line] == ["1", "2", "3"]


def test_the_folder_holds_the_report_the_weights_and_the_logs_and_nothing_of_an_earlier_demo(said, folder):
    assert {path.name for path in folder.iterdir()} == {"metrics.json", "report.html", *RUNS}
    for run in RUNS:
        names = {path.name for path in (folder / run).iterdir()}
        assert {"best.safetensors", "last.safetensors", "config.yaml", "metrics.csv", "metrics.json"} <= names
    assert not (folder / "run" / "boxes.csv").exists()
    assert (folder / "detection" / "boxes.csv").read_text() != "old"


def test_its_figures_are_those_of_the_weights(figures, folder, page):
    scores = scores_of(folder / "run", Digits)
    digits = figures["digits"]
    assert digits["test"]["images"] == scores["images"] == 500
    assert digits["test"]["accuracy"] == pytest.approx(scores["top1"])
    assert (digits["training"]["seed"], digits["training"]["steps"]) == (3, 2)
    assert all(row["images_per_second"] > 0 for row in figures["speed"]["rows"])
    assert f"{scores['top1']:.1%}" in page
    assert f"gpvit demo --out &#39;{folder}&#39; --seed 3 --quick" in page


def test_the_segmenters_figures_are_those_of_its_weights(figures, folder, page):
    scores, test = scores_of(folder / "segmentation", SegmentationScenes), figures["segmentation"]["test"]
    assert (test["miou"], test["pixel_accuracy"]) == (scores["miou"], scores["aacc"])
    assert test["iou"] == {name: scores["classes"][name]["iou"] for name in test["iou"]}
    assert f"{scores['miou']:.1%}" in page


def test_the_detectors_figures_are_those_of_its_weights(figures, folder, page):
    scores = scores_of(folder / "detection", DetectionScenes)
    assert figures["detection"]["test"] == scores
    assert f"{scores['box_ap']:.1%}" in page


def test_links_lead_somewhere(page):
    parsed = Page(page)
    assert len(parsed.anchors) == len(set(parsed.anchors))
    assert len(parsed.links) == 7 + 1
    for link in parsed.links:
        assert link.removeprefix("#") in parsed.anchors or link == "https://arxiv.org/abs/2212.06795"


def test_the_report_loads_nothing(page):
    assert not {"script", "link", "iframe", "object", "embed"} & set(Page(page).tags)
    assert not re.search(r"@import|url\((?!#)|\bsrcset=", page)
    assert re.findall(r'\bsrc="(?!data:image/)', page) == []


def test_every_image_shows_something(page):
    contents = [source.removeprefix("data:image/").split(";base64,") for source in Page(page).images]
    charts = [base64.b64decode(text, validate=True).decode() for kind, text in contents if kind == "svg+xml"]
    assert len(charts) == CHARTS
    assert all(chart.count("<path") + chart.count("<use") >= 10 for chart in charts)
    images = [base64.b64decode(text, validate=True) for kind, text in contents if kind != "svg+xml"]
    assert len(images) >= 115
    for image in images:
        decoded = Image.open(io.BytesIO(image))
        assert min(decoded.size) >= 8
        assert np.asarray(decoded).std() > 1


def test_the_makers_of_the_photographs_are_named(page):
    for name in ("china", "astronaut", "coffee", "rocket", "cat", "camera", "flower"):
        assert photograph_credit(name) in page


def test_a_folder_with_other_things_is_left_alone(tmp_path, capsys):
    (tmp_path / "detection").mkdir()
    (tmp_path / "detection" / "own.txt").touch()
    assert main(["demo", "--out", str(tmp_path), "--quick"]) == 1
    assert "not of an earlier demo, such as own.txt" in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["detection", "own.txt"]
