"""What the pages on fine-tuning show is run."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_readme import blocks, run, write_masks, write_objects

from gpvit.data.synthetic.digits import digits_split
from gpvit.data.synthetic.photographs import load_photograph, photograph_names
from gpvit.train.recipes import read_recipe, train_recipe

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "fine-tuning").glob("*.md"))


def write_images(root: Path) -> None:
    """Write handwritten noughts and ones."""
    for split, part, count in (("train", "train", 10), ("val", "test", 4)):
        images, labels = digits_split(part)
        for label in (0, 1):
            for index, pixels in enumerate(images[labels == label][:count]):
                path = root / split / str(label) / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).resize((64, 64)).save(path)


FOLDERS = {
    "classification": ("my_images", write_images),
    "segmentation": ("my_masks", write_masks),
    "detection": ("my_objects", write_objects),
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


@pytest.mark.slow  # 225 steps: about 30 s
def test_the_laptop_recipe_tells_three_photographs_apart(tmp_path):
    rng = np.random.default_rng(0)
    for name in photograph_names()[:3]:
        photograph = load_photograph(name)
        for split, count in (("train", 40), ("val", 20)):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                left, top = (int(rng.integers(side - 96)) for side in photograph.size)
                photograph.crop((left, top, left + 96, top + 96)).save(folder / f"{index}.png")
    recipes = [str(ROOT / "recipes/folder" / name) for name in ("finetune.yaml", "small/classify.yaml")]
    options = ["--data.root", str(tmp_path / "images"), "--out", str(tmp_path / "run")]
    _, summary = train_recipe([*recipes, *options])
    assert summary["last"]["val/top1"] > 0.8
