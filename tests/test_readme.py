"""What the README shows is run, and what it states is compared."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gpvit.cli import main

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
    (commands,) = blocks("bash")
    lines = [line.split("#")[0].split() for line in commands.splitlines()]
    assert len(lines) >= 7
    for program, *arguments in lines:
        assert program == "gpvit"
        assert main(arguments) == 0, arguments
    assert (tmp_path / "runs/groups/digit_groups.png").is_file()


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_targets_exist():
    (commands,) = blocks("")[:1]
    for line in commands.splitlines():
        command = line.split("#")[0].split()
        assert subprocess.run([*command, "--dry-run"], cwd=ROOT, capture_output=True).returncode == 0, line


def test_tables_of_models_are_true():
    from gpvit.cli.models import facts
    from gpvit.models.catalog import MODELS

    row = r"^\| `(\w+)`.*?\| ([\d,]+) \| ([\d.]+) \| ([\d.]*) ?\| (?:`(\w+)`)? ?\|$"
    rows = re.findall(row, README, re.MULTILINE)
    assert [row[0] for row in rows] == list(MODELS)
    for name, parameters, gmacs, score, tag in rows:
        known = facts(name)  # which another test compares with what `gpvit profile` counts
        assert (f"{known['parameters']:,}", f"{known['macs'] / 1e9:.2f}") == (parameters, gmacs)
        assert ([tag] if tag else []) == list(known["weights"])
        assert not tag or next(iter(known["weights"][tag].values())) == float(score)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/paper-vs-code.md"])
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = [t for t in re.findall(r"\]\(([^)#]+)\)", text) if not t.startswith("http")]
    for target in targets:
        assert ((ROOT / page).parent / target).exists(), target
