"""The demo, from the command line to the report, on its shortest setting."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

import gpvit
from gpvit.cli import main
from gpvit.data import Digits, ImageFolder
from gpvit.data.synthetic.photographs import photograph_credit
from gpvit.tasks.evaluate import SOURCES, evaluate

RUNS = ("from_digits", "from_nothing")
CHARTS = 1 + 2  # of the letters, and of cost


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
    for name in (*RUNS, "letters/train/A"):
        (folder / name).mkdir(parents=True)
    (folder / "letters" / "train" / "A" / "9.png").write_text("old")
    (folder / "from_digits" / "last.ckpt").write_text("old")
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


def test_it_says_where_the_report_lies(said, folder):
    lines = said.splitlines()
    assert lines[-1] == str(folder / "report.html")
    assert [line[0] for line in lines if " of 7: " in line] == [*"1234567"]


def test_the_folder_holds_the_report_the_letters_and_the_runs_and_nothing_of_an_earlier_demo(said, folder):
    assert {path.name for path in folder.iterdir()} == {"metrics.json", "report.html", "letters", *RUNS}
    for run in RUNS:
        names = {path.name for path in (folder / run).iterdir()}
        assert {"best.safetensors", "last.safetensors", "config.yaml", "metrics.csv", "metrics.json"} <= names
    assert not (folder / "letters" / "train" / "A" / "9.png").exists()
    assert len(list((folder / "letters").rglob("*.png"))) == 2 * 26 * 2


def test_its_figures_are_those_of_the_shipped_weights(figures, page):
    scores = evaluate(gpvit.create_model("gpvit_nano.digits").eval(), Digits(num_workers=0))
    assert figures["digits"]["images"] == scores["images"] == 500
    assert figures["digits"]["accuracy"] == pytest.approx(scores["top1"])
    assert f"{scores['top1']:.1%}" in page
    for chapter, score in (("segmentation", "miou"), ("detection", "box_ap50"), ("detection", "mask_ap")):
        assert 0.3 < figures[chapter][score] <= 1  # of six scenes
        assert f"{figures[chapter][score]:.1%}" in page
    assert all(row["images_per_second"] > 0 for row in figures["speed"]["rows"])


def test_what_was_learned_is_what_its_weights_score(figures, folder, page):
    assert f"gpvit demo --out &#39;{folder}&#39; --seed 3 --quick" in page
    for run, accuracy in zip(RUNS, figures["learning"].values(), strict=True):
        model = gpvit.load(folder / run / "last.safetensors")
        letters = ImageFolder(folder / "letters", num_workers=0)
        letters.preprocessing = SOURCES["classification"].prepare(model)
        assert evaluate(model, letters)["top1"] == pytest.approx(accuracy, abs=1e-5)


def test_links_lead_somewhere(page):
    parsed = Page(page)
    assert len(parsed.anchors) == len(set(parsed.anchors))
    assert len(parsed.links) == 8 + 1
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
    assert len(images) >= 80
    for image in images:
        decoded = Image.open(io.BytesIO(image))
        assert min(decoded.size) >= 8
        assert np.asarray(decoded).std() > 1


def test_the_makers_of_the_photographs_are_named(page):
    for name in ("astronaut", "coffee", "rocket", "cat", "camera", "flower"):
        assert photograph_credit(name) in page


@pytest.mark.parametrize(
    "files",
    [
        ["from_digits/own.txt"],
        ["letters/train/A/0.png", "precious.py"],
        ["metrics.json"],  # of a training
        ["report.html", "from_digits/last.ckpt"],  # a demo writes letters before these
    ],
)
def test_a_folder_with_other_things_is_left_alone(files, tmp_path, capsys):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    before = sorted(tmp_path.rglob("*"))
    assert main(["demo", "--out", str(tmp_path), "--quick"]) == 1
    assert "not of an earlier demo: name another --out" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_in_place_of_the_folder_is_left_alone(tmp_path, capsys):
    (tmp_path / "demo").write_text("to the shop")
    assert main(["demo", "--out", str(tmp_path / "demo"), "--quick"]) == 1
    assert "is no folder: name another --out" in capsys.readouterr().err
