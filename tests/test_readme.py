"""What the README shows is run, and what it states is compared."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shapes import write_crops, write_masks, write_objects

from gpvit.cli import main
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


@pytest.mark.filterwarnings("default:the warm-up:UserWarning")  # an epoch is as long as it
def test_commands_run(tmp_path, monkeypatch):
    for name in ("recipes", "docs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    run(blocks("bash")[0], at_least=7, epochs="1")
    assert (tmp_path / "runs/groups/digit_groups.png").is_file()


@pytest.mark.filterwarnings("default::UserWarning")  # so few pictures do not hold every class
def test_own_images_become_pictures(tmp_path, monkeypatch, capsys):
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    monkeypatch.chdir(tmp_path)
    write_crops(Path("my_images"), train=8, val=1)
    write_masks(Path("my_masks"), train=8, val=1)
    write_objects(Path("my_objects"), train=8, val=1)
    run(blocks("bash")[1], at_least=6, epochs="2")  # in which little is learned
    assert "astronaut" in capsys.readouterr().out
    assert {path.name for path in Path("runs/overlays").iterdir()} == {"0_predicted.png", "0_labels.png"}
    labels = np.asarray(Image.open("runs/overlays/0_labels.png"))
    assert labels.shape == (96, 128)
    assert labels.max() <= 3
    assert [path.name for path in Path("runs/found").iterdir()] == ["0_predicted.png"]
    assert all((Path("runs") / run / "data.png").is_file() for run in ("classes", "masks", "objects"))


def run(commands: str, at_least: int, epochs: str = "") -> None:
    lines = [shlex.split(line.split("#")[0]) for line in commands.splitlines()]
    assert len(lines) >= at_least
    for program, *arguments in lines:
        if program == "python":
            if arguments[1] == "studies":
                assert studies(arguments[2:]) == 0, arguments
            else:
                subprocess.run([sys.executable, *arguments], check=True)
            continue
        assert program == "gpvit"
        shorter = ["--train.epochs", epochs] if epochs and arguments[0] == "train" else []
        assert main([*arguments, *shorter]) == 0, arguments


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
