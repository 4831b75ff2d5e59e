"""What the pages on fine-tuning show is run."""

import json
import re
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from golden import official
from hub_server import serve_hub
from shapes import write_crops, write_masks, write_objects
from test_readme import blocks, run

import gpvit
from gpvit.export.parity import TOLERANCES
from gpvit.tasks.evaluate import evaluate, find_data, open_data
from gpvit.train.recipes import read_recipe, train_recipe

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "fine-tuning").glob("*.md"))


FOLDERS = {
    "classification": ("my_images", partial(write_crops, train=10, val=4)),
    "segmentation": ("my_masks", partial(write_masks, train=8, val=1)),
    "detection": ("my_objects", partial(write_objects, train=8, val=1)),
}


@pytest.mark.slow  # each page trains three times: about 40 s
@pytest.mark.filterwarnings("default::UserWarning")  # so few images do not hold every class
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_fine_tuning_runs_as_shown(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    folder, write = FOLDERS[page.stem]
    write(Path(folder))
    text = page.read_text(encoding="utf-8")
    (commands,) = blocks("bash", text)
    run(commands, at_least=5)
    assert Path("runs/look/data.png").is_file()
    certificate = json.loads(Path("runs/few/certificate.json").read_text())
    assert certificate["verdict"] == "pass"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_setting_that_a_page_names_exists(page):
    settings = set(re.findall(r"--((?:model|data|optim)\.[\w.]+)", page.read_text(encoding="utf-8")))
    assert {"optim.freeze", "optim.layer_decay", "optim.base_batch_size", "data.subset_seed"} <= settings
    recipe = {"classification": "finetune", "segmentation": "segment", "detection": "detect"}[page.stem]
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
    text = (ROOT / "docs/hub.md").read_text(encoding="utf-8")
    shown = blocks("bash", text)
    shown[0] = shown[0].replace("--expect 0.9", "--expect 0.5 --tolerance 1")  # it has learned nothing
    with serve_hub(tmp_path / "cache"):
        for commands in shown:
            run(commands, at_least=2)
        (code,) = blocks("python", text)
        exec(compile(code, "hub.md", "exec"), {})
    assert "![fruit](picture.png)" in Path("fruit/README.md").read_text()


def test_the_page_on_exports_states_the_tolerances():
    page = (ROOT / "docs/export.md").read_text(encoding="utf-8")
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
    text = (ROOT / "docs/export.md").read_text(encoding="utf-8")
    for commands in blocks("bash", text):
        run(commands, at_least=1)
    for code in blocks("python", text):
        exec(compile(code, "export.md", "exec"), {})
    assert Path("groups/0_groups.png").is_file()
    said = capfd.readouterr().out
    assert all(f"{name}: gpvit_nano in" in said for name in ("fruit.onnx", "fruit.xml", "fruit.pt2", "small.onnx"))
