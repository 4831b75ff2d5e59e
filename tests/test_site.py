"""The documentation is built as a site without a warning: pages, links, anchors, references."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow  # about 25 s
def test_the_site_is_built_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", str(tmp_path / "trees")]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    done = subprocess.run([*command, "docs", str(tmp_path)], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    verbs = (tmp_path / "cli.html").read_text(encoding="utf-8")
    assert "--score" in verbs
    assert "Detectors only: minimum score to keep" in verbs
    names = (tmp_path / "api.html").read_text(encoding="utf-8")
    assert 'id="gpvit.create_model"' in names or "gpvit.create_model" in names
