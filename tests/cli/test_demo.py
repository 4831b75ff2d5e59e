"""The demo, from the command line to the report, on its shortest setting."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml
from gpvit.tasks.evaluation import evaluate_classifier, evaluate_detector, evaluate_segmenter
from PIL import Image

import gpvit
from gpvit.cli import main
from gpvit.data import Digits, photograph_credit
from gpvit.data.detection import DigitScenes as DetectionScenes
from gpvit.data.segmentation import DigitScenes as SegmentationScenes

RUNS = ("run", "segmentation", "detection")


class Page(HTMLParser):
    """Collects what a test asks about."""

    def __init__(self, text):
        super().__init__()
        self.links, self.anchors, self.images, self.headings, self.tags = [], [], [], [], []
        self._heading = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self._heading = tag in ("h2", "h3")
        if "id" in attributes:
            self.anchors.append(attributes["id"])
        if tag == "a":
            self.links.append(attributes["href"])
        if tag == "img":
            self.images.append(attributes["src"])

    def handle_data(self, data):
        if self._heading and data.strip():
            self.headings.append(data)


def data_of(run):
    """Read what the data module of a run was built with."""
    return yaml.safe_load((run / "config.yaml").read_text())["data"]["init_args"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("demo") / "with space"


@pytest.fixture(scope="module")
def said(folder):
    """Run the demo over the remains of an earlier one, and return what it prints."""
    for name in RUNS:
        earlier = folder / name
        earlier.mkdir(parents=True)
        (earlier / "config.yaml").touch()
        (earlier / "old.txt").touch()
    (folder / "report.html").write_text("old")
    with pytest.MonkeyPatch.context() as patch:
        printed = io.StringIO()
        patch.setattr("sys.stdout", printed)
        assert main(["demo", "--out", str(folder), "--seed", "3", "--quick"]) == 0
    return printed.getvalue()


@pytest.fixture(scope="module")
def page(said, folder):
    return (folder / "report.html").read_text(encoding="utf-8")


def test_it_says_little_and_where_the_report_lies(said, folder):
    lines = said.splitlines()
    assert lines[-1] == str(folder / "report.html")
    assert len(lines) <= 11
    assert [line[0] for line in lines if " of 3: " in line] == ["1", "2", "3"]


def test_the_folder_holds_the_report_the_weights_and_the_logs_and_nothing_of_an_earlier_run(said, folder):
    assert sorted(path.name for path in folder.iterdir()) == sorted(["metrics.json", "report.html", *RUNS])
    for run in RUNS:
        names = {path.name for path in (folder / run).iterdir()}
        assert {"best.safetensors", "last.safetensors", "config.yaml", "metrics.csv", "metrics.json"} <= names
        assert "old.txt" not in names


def test_its_figures_are_those_of_the_weights(said, folder, page):
    figures = json.loads((folder / "metrics.json").read_text())
    scores = evaluate_classifier(gpvit.load(folder / "run" / "last.safetensors"), Digits(), device="cpu")
    assert figures["test"]["images"] == scores["images"] == 500
    assert figures["test"]["accuracy"] == pytest.approx(scores["top1"])
    assert figures["training"]["seed"] == 3
    assert figures["training"]["epochs"] == 1
    assert all(row["images_per_second"] > 0 for row in figures["speed"]["rows"])
    assert f"{scores['top1']:.1%}" in page
    assert f"gpvit demo --out &#39;{folder}&#39; --seed 3 --quick" in page


def test_the_segmenters_figures_are_those_of_its_weights(said, folder, page):
    figures = json.loads((folder / "metrics.json").read_text())["segmentation"]
    model = gpvit.load(folder / "segmentation" / "last.safetensors")
    scores = evaluate_segmenter(model, SegmentationScenes(**data_of(folder / "segmentation")), device="cpu")
    assert figures["test"]["miou"] == pytest.approx(scores["miou"])
    assert figures["test"]["pixel_accuracy"] == pytest.approx(scores["aacc"])
    for name, iou in figures["test"]["iou"].items():
        assert iou == pytest.approx(scores["classes"][name]["iou"])
    assert figures["model"]["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert f"{scores['miou']:.1%}" in page


def test_the_detectors_figures_are_those_of_its_weights(said, folder, page):
    figures = json.loads((folder / "metrics.json").read_text())["detection"]
    model = gpvit.load(folder / "detection" / "last.safetensors")
    scores = evaluate_detector(model, DetectionScenes(**data_of(folder / "detection")), device="cpu")
    assert figures["test"] == scores
    assert figures["model"]["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert f"{scores['box_ap']:.1%}" in page


def test_the_contents_name_every_chapter_and_section_and_links_lead_somewhere(page):
    parsed = Page(page)
    assert len(parsed.headings) == 7 + 23
    contents = [link.removeprefix("#") for link in parsed.links if link.startswith("#")]
    assert len(contents) == len(parsed.headings)
    assert len(parsed.anchors) == len(set(parsed.anchors))
    for link in parsed.links:
        assert link.removeprefix("#") in parsed.anchors or link == "https://arxiv.org/abs/2212.06795"


def test_the_report_loads_nothing(page):
    assert not {"script", "link", "iframe", "object", "embed"} & set(Page(page).tags)
    assert not re.search(r"@import|url\((?!#)|\bsrcset=", page)
    assert re.findall(r'\bsrc="(?!data:image/)', page) == []


def test_every_image_shows_something(page):
    images = Page(page).images
    assert len(images) >= 115
    for image in images:
        decoded = Image.open(io.BytesIO(base64.b64decode(image.partition(",")[2], validate=True)))
        assert min(decoded.size) >= 8
        assert np.asarray(decoded).std() > 1


def test_every_chart_shows_something(page):
    charts = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    # Of digits: loss, accuracy, confusion, the drawing of group propagation, parameters, MACs. Of scenes, twice: loss,
    # score, two by class.
    assert len(charts) == 6 + 4 + 4
    for chart in charts:
        assert chart.count("<path") + chart.count("<use") + chart.count("<rect") >= 5
        assert chart.count("<text") >= 4


def test_the_makers_of_the_photographs_are_named(page):
    for name in ("china", "astronaut", "coffee", "rocket", "cat", "camera", "flower"):
        assert photograph_credit(name) in page


def test_a_folder_with_other_things_is_left_alone(tmp_path, capsys):
    (tmp_path / "detection").mkdir()
    (tmp_path / "detection" / "own.txt").touch()
    assert main(["demo", "--out", str(tmp_path), "--quick"]) == 1
    assert "no earlier run" in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["detection", "own.txt"]
