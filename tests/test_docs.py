"""What the pages show is run, and what they name is there."""

import ast
import json
import re
import shutil
import tomllib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from golden import official
from hub_server import serve_hub
from PIL import Image
from shapes import write_crops, write_masks, write_objects
from test_readme import blocks, run

import gpvit
from gpvit.data.synthetic.photographs import load_photograph
from gpvit.export.parity import TOLERANCES
from gpvit.tasks.evaluate import evaluate, find_data, open_data
from gpvit.train.recipes import read_recipe, train_recipe

ROOT = Path(__file__).parents[1]
PAGES = {page.stem: page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("*.md"))}
ELSEWHERE = {"export", "hub", "extending", "serve", "weights", "web"}  # run by tests of their own
FOLDERS = {
    "classify": ("my_images", partial(write_crops, train=10, val=4)),
    "segment": ("my_masks", partial(write_masks, train=8, val=1)),
    "detect": ("my_objects", partial(write_objects, train=8, val=1)),
}
WALKS = ("cli", "data-formats")
FENCE = re.compile(r"^```(.*)\n(?:.*\n)*?```$", re.MULTILINE)
WORDS = [
    part.value
    for path in (ROOT / "src").rglob("*.py")
    for part in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    if isinstance(part, ast.Constant) and isinstance(part.value, str)
]


@pytest.mark.parametrize("page", PAGES)
def test_blocks_are_run_or_say_why_not(page):
    """Python and bash are run by the tests below or by those of the page, or a comment before them says why not."""
    text = PAGES[page]
    known = {"bash", "python", "yaml", "json", "text", "console", "nginx"}
    assert [kind for kind in FENCE.findall(text) if kind not in known and not kind.startswith("{")] == []
    commands = blocks("bash", text)
    assert not commands or page in ELSEWHERE | set(FOLDERS) | set(WALKS), "no test runs these commands"
    assert all(len(alternative) > 10 for alternative in re.findall(r"!\[(.*?)\]\(", text))


@pytest.mark.filterwarnings("default::UserWarning")  # of models without weights
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.slow] * (page in ("adapter", "coming-from")))  # many models are made
        for page in PAGES
        if blocks("python", PAGES[page]) and page not in ELSEWHERE
    ],
)
def test_python_runs_as_shown(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    load_photograph("cat").resize((96, 64)).save("photo.jpg")
    for code in blocks("python", PAGES[page]):
        exec(compile(code, f"{page}.md", "exec"), {})


def test_every_extra_is_said_to_be_for_something():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(re.findall(r"^\| `(\w+)` \|", PAGES["install"], re.MULTILINE)) == {*extras} - {"dev-tools"}


def test_the_page_on_performance_states_what_was_measured():
    measured = (ROOT / "docs/results/runtimes.md").read_text(encoding="utf-8")
    figures = re.findall(r"(?<![\d.,])\d[\d,]*\.\d(?![\d.])", PAGES["performance"].partition("## ")[0])
    assert len(figures) > 8
    assert [figure for figure in figures if f"| {figure} |" not in measured] == []


def test_the_faq_quotes_messages():
    quoted = re.findall(r"^### `(.*)`$", PAGES["faq"], re.MULTILINE)
    assert len(quoted) > 15
    for fragment in (each.strip(" ;:'") for message in quoted for each in message.split("...")):
        assert any(fragment in words for words in WORDS), fragment


def walk(page: str, at_least: int, epochs: str) -> None:
    for name in ("recipes", "docs"):
        shutil.copytree(ROOT / name, name, ignore=shutil.ignore_patterns("_build"))
    run(blocks("bash", PAGES[page])[0], at_least=at_least, epochs=epochs)


@pytest.mark.slow  # ten verbs in a row: about 25 s
@pytest.mark.filterwarnings("default:the warm-up:UserWarning")  # an epoch is as long as it
def test_the_verbs_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    walk("cli", at_least=7, epochs="1")
    assert Path("runs/groups/digit_groups.png").is_file()


@pytest.mark.filterwarnings("default::UserWarning")  # so few pictures do not hold every class
def test_own_images_become_pictures(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_crops(Path("my_images"), train=8, val=1)
    write_masks(Path("my_masks"), train=8, val=1)
    write_objects(Path("my_objects"), train=8, val=1)
    walk("data-formats", at_least=6, epochs="2")  # in which little is learned
    assert "astronaut" in capsys.readouterr().out
    assert {path.name for path in Path("runs/overlays").iterdir()} == {"0_predicted.png", "0_labels.png"}
    labels = np.asarray(Image.open("runs/overlays/0_labels.png"))
    assert labels.shape == (96, 128)
    assert labels.max() <= 3
    assert [path.name for path in Path("runs/found").iterdir()] == ["0_predicted.png"]
    assert all((Path("runs") / run / "data.png").is_file() for run in ("classes", "masks", "objects"))


@pytest.mark.slow  # each page trains three times: about 40 s
@pytest.mark.filterwarnings("default::UserWarning")  # so few images do not hold every class
@pytest.mark.parametrize("page", FOLDERS)
def test_fine_tuning_runs_as_shown(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    folder, write = FOLDERS[page]
    write(Path(folder))
    (commands,) = blocks("bash", PAGES[page])
    run(commands, at_least=5)
    assert Path("runs/look/data.png").is_file()
    certificate = json.loads(Path("runs/few/certificate.json").read_text())
    assert certificate["verdict"] == "pass"


@pytest.mark.parametrize("page", FOLDERS)
def test_every_setting_that_a_page_names_exists(page):
    settings = set(re.findall(r"--((?:model|data|optim)\.[\w.]+)", PAGES[page]))
    assert {"optim.freeze", "optim.layer_decay", "optim.base_batch_size", "data.subset_seed"} <= settings
    recipe = "finetune" if page == "classify" else page
    values = {
        "freeze": "3",
        "layer_decay": "0.5",
        "base_batch_size": "8",
        "per_class": "3",
        "subset": "3",
        "subset_seed": "1",
    }
    named = {setting: values[name] for setting in settings if (name := setting.partition(".")[2]) in values}
    overrides = [part for setting, value in named.items() for part in (f"--{setting}", value)]
    resolved = read_recipe([str(ROOT / "recipes/folder" / f"{recipe}.yaml"), *overrides]).settings
    for setting in settings:
        group, name, *_ = setting.split(".")
        assert name in resolved[group]
        assert setting not in named or str(resolved[group][name]) == named[setting]


@pytest.mark.slow  # one to seven minutes each
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("recipe", "write", "scores"),
    [
        ("classify", write_crops, {"top1": 0.9}),
        ("segment", write_masks, {"miou": 0.75}),
        ("detect", write_objects, {"box_ap": 0.55}),
    ],
)
def test_the_small_recipes_learn(recipe, write, scores, seed, tmp_path):
    write(tmp_path / "own", seed=seed)
    options = ["--data.root", str(tmp_path / "own"), "--out", str(tmp_path / "run"), "--train.seed", str(seed)]
    train_recipe([f"recipes/folder/small/{recipe}.yaml", *options])
    model = gpvit.load(tmp_path / "run")
    data = open_data(find_data(model.task, tmp_path / "own"), model, root=tmp_path / "own", num_workers=0)
    measured = evaluate(model, data)
    assert all(measured[name] > score for name, score in scores.items()), measured
    assert all(each.get("iou", 1) > 0.5 for each in measured.get("classes", {}).values()), measured


@pytest.mark.slow
def test_the_small_recipe_tells_photographs_apart_within_seconds(tmp_path):
    """The same on smaller images, in fewer steps."""
    write_crops(tmp_path / "own", train=24, val=10)
    size = ["--data.preprocessing.input_size", "[3, 32, 32]", "--train.epochs", "12", "--optim.lr", "0.001"]
    options = ["--data.root", str(tmp_path / "own"), "--out", str(tmp_path / "run"), *size]
    _, summary = train_recipe(["recipes/folder/small/classify.yaml", *options])
    assert summary["best"]["val/top1"] > 0.6  # chance is a third


def write_fruit() -> None:
    """Write two images of each class, and the run folder of a classifier that has learned nothing."""
    write_crops(Path("my_images"), train=1, val=1)
    for split in ("train", "val"):
        Path("my_images", split, "astronaut").rename(Path("my_images", split, "apple"))
    next(Path("my_images/val/apple").iterdir()).rename("my_images/val/apple/0.jpg")
    names = sorted(path.name for path in Path("my_images/val").iterdir())
    Path("runs/fruit").mkdir(parents=True)
    model = gpvit.create_model("gpvit_nano", num_classes=len(names), img_size=32)
    gpvit.save(model, "runs/fruit/best.safetensors", class_names=names)


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of huggingface_hub
def test_the_page_on_hubs_runs_as_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_fruit()
    torch.save({"meta": {}, "state_dict": official.state_dict("cls_L1")}, "epoch_300.pth")
    text = PAGES["hub"]
    shown = blocks("bash", text)
    shown[0] = shown[0].replace("--expect 0.9", "--expect 0.5 --tolerance 1")  # it has learned nothing
    with serve_hub(tmp_path / "cache"):
        for commands in shown:
            run(commands, at_least=2)
        (code,) = blocks("python", text)
        exec(compile(code, "hub.md", "exec"), {})
    assert "![fruit](picture.png)" in Path("fruit/README.md").read_text()


def test_the_page_on_exports_states_the_tolerances():
    page = PAGES["export"]
    for precision in ("fp32", "fp16", "bf16"):
        (row,) = re.findall(rf"^\| `{precision}` \|.*$", page, re.MULTILINE)
        _, _, _, difference, agreement, _ = (cell.strip() for cell in row.split("|"))
        assert float(difference.split()[0]) == TOLERANCES[precision].difference
        agreed = 1.0 if agreement.startswith("all") else float(agreement.removesuffix(" %")) / 100
        assert agreed == TOLERANCES[precision].agreement


@pytest.mark.slow  # seven files are exported: about 2 minutes
@pytest.mark.filterwarnings("default::UserWarning")  # of a model without weights
def test_the_page_on_exports_runs_as_shown(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    write_fruit()
    text = PAGES["export"]
    for commands in blocks("bash", text):
        run(commands, at_least=1)
    for code in blocks("python", text):
        exec(compile(code, "export.md", "exec"), {})
    assert Path("groups/0_groups.png").is_file()
    said = capfd.readouterr().out
    assert all(f"{name}: gpvit_nano in" in said for name in ("fruit.onnx", "fruit.xml", "fruit.pt2", "small.onnx"))


@pytest.mark.slow  # two models are exported
@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed here")
def test_the_page_on_pages_runs_as_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for commands in blocks("bash", PAGES["web"]):
        run(commands, at_least=1)
    assert Path("digits_page/parts/facts.js").is_file()
