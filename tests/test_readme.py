"""What the README shows is run, and what it states is compared."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from gpvit.cli import main
from gpvit.data.synthetic.scenes import digit_scene
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


def test_the_first_command_runs_and_the_others_are_those_that_another_test_runs(tmp_path, monkeypatch, capsys):
    (commands,) = blocks("bash")
    assert commands in (ROOT / "docs/index.md").read_text(encoding="utf-8")
    first, others = commands.split("\n", 1)
    assert others in (ROOT / "docs/data-formats.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    Image.fromarray(digit_scene("test", 0).image).save("photo.jpg")
    run(first, at_least=1)
    assert "background" in capsys.readouterr().out


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


@pytest.mark.parametrize(("page", "of"), [("README.md", "gpvit_"), ("docs/models.md", "")])
def test_tables_of_models_are_true(page, of):
    from gpvit.cli.models import row_of
    from gpvit.zoo.catalog import MODELS

    row = r"^\| `(\w+)`.*?\| ([\d,]+) \| ([\d.]+) \| ([\d.]*) ?\| ((?:`\w+`(?:, )?)*) ?\|$"
    rows = re.findall(row, (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert [row[0] for row in rows] == [name for name in MODELS if name.startswith(of)]
    for name, parameters, gmacs, score, tags in rows:
        known = row_of(name)  # which another test compares with what `gpvit profile` counts
        assert (f"{known['parameters']:,}", f"{known['macs'] / 1e9:.2f}") == (parameters, gmacs)
        assert re.findall(r"\w+", tags) == list(known["weights"])
        published = [metrics for tag, metrics in known["weights"].items() if not MODELS[name].weights[tag].shipped]
        assert not published or next(iter(published[0].values())) == float(score)


@pytest.mark.parametrize(
    "page",
    ["README.md", "CONTRIBUTING.md", *(str(page.relative_to(ROOT)) for page in sorted(ROOT.glob("docs/**/*.md")))],
)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = [t for t in re.findall(r"\]\(([^)#]+)\)", text) if not t.startswith("http")]
    for target in targets:
        assert ((ROOT / page).parent / target).exists(), target
