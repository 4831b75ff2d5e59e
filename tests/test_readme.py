"""What the README shows is run, and what it states is compared."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpvit.cli import main
from gpvit.data.synthetic.scenes import Scene, digit_scene
from studies.__main__ import main as studies

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str, text: str = README) -> list[str]:
    """Return the fenced blocks of a language, but for those marked as not run."""
    text = re.sub(r"<!-- not run by the tests.*?-->\n```.*?```", "", text, flags=re.DOTALL)
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_python_runs():
    (code,) = blocks("python")
    exec(compile(code, "README.md", "exec"), {})


def test_commands_run(tmp_path, monkeypatch):
    for name in ("recipes", "docs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    run(blocks("bash")[0], at_least=7)
    assert (tmp_path / "runs/groups/digit_groups.png").is_file()


@pytest.mark.filterwarnings("default::UserWarning")  # so few pictures do not hold every class
def test_own_images_become_pictures(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    monkeypatch.chdir(tmp_path)
    write_masks(Path("my_masks"))
    write_objects(Path("my_objects"))
    run(blocks("bash")[1], at_least=4, epochs="2")  # in which little is learned
    assert {path.name for path in Path("runs/overlays").iterdir()} == {"0_predicted.png", "0_labels.png"}
    labels = np.asarray(Image.open("runs/overlays/0_labels.png"))
    assert labels.shape == (96, 128)
    assert labels.max() <= 10
    assert [path.name for path in Path("runs/found").iterdir()] == ["0_predicted.png"]
    assert all((Path("runs") / run / "data.png").is_file() for run in ("masks", "objects"))


def run(commands: str, at_least: int, epochs: str = "") -> None:
    lines = [shlex.split(line.split("#")[0]) for line in commands.splitlines()]
    assert len(lines) >= at_least
    for program, *arguments in lines:
        if program == "python":
            assert arguments[:2] == ["-m", "studies"]
            assert studies(arguments[2:]) == 0, arguments
            continue
        assert program == "gpvit"
        shorter = ["--train.epochs", epochs] if epochs and arguments[0] == "train" else []
        assert main([*arguments, *shorter]) == 0, arguments


def scenes(split: str) -> list[Scene]:
    return [digit_scene("train", 8 * (split == "val") + i, size=(96, 128)) for i in range(8 if split == "train" else 1)]


def write_masks(root: Path) -> None:
    for split in ("train", "val"):
        for index, scene in enumerate(scenes(split)):
            for kind, pixels, suffix in (("images", scene.image, "jpg"), ("masks", scene.labels, "png")):
                path = root / kind / split / f"{index}.{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    (root / "classes.yaml").write_text("names: [background, '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']\n")


def write_objects(root: Path) -> None:
    for split in ("train", "val"):
        images, objects = [], []
        for index, scene in enumerate(scenes(split)):
            path = root / split / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(scene.image).save(path)
            images.append({"id": index, "file_name": path.name, "height": 96, "width": 128})
            for left, top, right, bottom in scene.boxes.tolist():
                box = [left, top, right - left, bottom - top]
                corners = [left, top, right, top, right, bottom, left, bottom]
                annotation = {"image_id": index, "category_id": 1, "bbox": box, "segmentation": [corners], "iscrowd": 0}
                objects.append({"id": len(objects), "area": box[2] * box[3], **annotation})
        annotations = root / "annotations" / f"{split}.json"
        annotations.parent.mkdir(exist_ok=True)
        content = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "digit"}]}
        annotations.write_text(json.dumps(content))


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_targets_exist():
    (commands,) = blocks("")[:1]
    for line in commands.splitlines():
        command = line.split("#")[0].split()
        assert subprocess.run([*command, "--dry-run"], cwd=ROOT, capture_output=True).returncode == 0, line


def test_tables_of_models_are_true():
    from gpvit.cli.models import row_of
    from gpvit.zoo.catalog import MODELS

    row = r"^\| `(\w+)`.*?\| ([\d,]+) \| ([\d.]+) \| ([\d.]*) ?\| ((?:`\w+`(?:, )?)*) ?\|$"
    rows = re.findall(row, README, re.MULTILINE)
    assert [row[0] for row in rows] == list(MODELS)
    for name, parameters, gmacs, score, tags in rows:
        known = row_of(name)  # which another test compares with what `gpvit profile` counts
        assert (f"{known['parameters']:,}", f"{known['macs'] / 1e9:.2f}") == (parameters, gmacs)
        published = known["weights"]
        assert re.findall(r"\w+", tags) == list(published)
        assert not published or next(iter(next(iter(published.values())).values())) == float(score)


@pytest.mark.parametrize(
    "page",
    ["README.md", "CONTRIBUTING.md", *(str(page.relative_to(ROOT)) for page in sorted(ROOT.glob("docs/**/*.md")))],
)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = [t for t in re.findall(r"\]\(([^)#]+)\)", text) if not t.startswith("http")]
    for target in targets:
        assert ((ROOT / page).parent / target).exists(), target
