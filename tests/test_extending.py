"""What the page on extending shows is run, in the order of the page."""

import re
import shlex
import sys
from pathlib import Path

import pytest

import gpvit
from gpvit.cli import main
from gpvit.data.synthetic.photographs import load_photograph
from gpvit.models.segmenter import DECODERS
from gpvit.models.variants import BLOCKS
from gpvit.zoo.catalog import SYSTEMS

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"```(python|yaml|bash)\n(?:# (\w+\.\w+)\n)?(.*?)```", re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with the files of the page; what they register is gone afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("GPVIT_IMPORT", "")  # restored at the end
    for registry in (BLOCKS, DECODERS, SYSTEMS):
        for name in ("mean", "linear"):
            monkeypatch.setitem(registry, name, None)  # restored, to be missing, at the end
            del registry[name]
    for _, name, text in BLOCK.findall(PAGE):
        if name:
            (tmp_path / name).write_text(text, encoding="utf-8")
    load_photograph("cat").resize((96, 64)).save("photo.jpg")
    yield tmp_path
    for module in ("my_parts", "my_data"):
        sys.modules.pop(module, None)


@pytest.mark.slow
def test_the_page_runs_as_shown(folder, capsys):
    for language, name, text in BLOCK.findall(PAGE):
        if language == "python" and not name:
            exec(compile(text, "extending.md", "exec"), {})
        for line in text.splitlines() if language == "bash" else ():
            assert main(shlex.split(line)[1:]) == 0, line
    assert "epoch 3/3" in capsys.readouterr().out
    assert {path.name for path in folder.glob("overlays/*")} == {"photo_labels.png", "photo_predicted.png"}
    assert gpvit.load("runs/stripes").pretrained_cfg["label_names"] == ["upright", "level"]
    assert gpvit.load("trained.safetensors").pretrained_cfg["label_names"] == list("0123456789")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["models", "--import"], "--import: name a module"),
        (["models", "--import=no_such"], "--import no_such: ModuleNotFoundError"),
        (["models", "--import", "broken"], "--import broken: ZeroDivisionError"),
        (["predict", "linear_gpvit_nano", "photo.jpg"], "unknown model 'linear_gpvit_nano'"),
    ],
)
def test_modules_that_cannot_be_imported_are_named(folder, arguments, message, capsys):
    (folder / "broken.py").write_text("1 / 0")
    assert main(arguments) == 1
    assert message in capsys.readouterr().err
