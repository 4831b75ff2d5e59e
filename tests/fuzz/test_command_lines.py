"""Command lines of every verb: refused, or answered, without training; the user's files stay."""

import inspect
from importlib import import_module
from types import SimpleNamespace

import pytest
import yaml
from fuzz.damage import TEXTS
from fuzz.property import holds
from fuzz.test_recipes import CLASSIFY
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from runtime.metadata import CLASSIFIER
from runtime.tiny import write

import gpvit
from gpvit.cli import PARSE_THEMSELVES, VERBS, CommandError, main

ELSEWHERE = ("devices", "ray", "workers", "num_workers")  # would start processes
PLAIN = ["3", "1,2", "32", "64x64", "-1", "published", "cpu", "toaster", "digits", "gpvit_nano", "segformer_gpvit_nano"]
FILES = [
    "weights.safetensors",
    "model.onnx",
    "image.png",
    "notes.txt",
    "recipe.yaml",
    "photos",
    "new.safetensors",
    "nowhere",
]
NEVER = {"/", "..", "~", "$HOME", "a\0b", "\ud800"}  # whose files are not for tests, or which no shell can give
WORDS = st.sampled_from([*PLAIN, *FILES, *FILES, *sorted({*TEXTS} - NEVER)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of a user's files, of every kind that a verb takes."""
    path = tmp_path_factory.mktemp("home")
    model = gpvit.create_model("gpvit_nano", img_size=32, num_classes=2, embed_dim=8, pool_heads=2)
    gpvit.save(model, path / "weights.safetensors", ["cat", "dog"])
    for name in ("image.png", "photos/a.png", "photos/val/cat/1.png", "photos/val/dog/2.png"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (9, 99, 199)).save(path / name)
    write(CLASSIFIER, path / "model.onnx")
    (path / "notes.txt").write_text("mine")
    (path / "recipe.yaml").write_text(yaml.safe_dump(CLASSIFY))
    return path


@pytest.fixture
def idle(folder, monkeypatch):
    """Work in that folder, where what would train, measure for long or start processes does nothing."""

    def read(arguments):
        from gpvit.train.recipes import read_recipe

        read_recipe(arguments).build()
        raise CommandError("read, not trained")

    def stop(*_):
        raise CommandError("checked, not exported")

    monkeypatch.chdir(folder)
    # the demo first: its module is imported by this, and would keep a `train_recipe` that is replaced already
    monkeypatch.setattr("gpvit.cli.demo.run_demo", lambda out, seed, quick: out)
    monkeypatch.setattr("gpvit.train.recipes.train_recipe", read)
    monkeypatch.setattr("gpvit.train.sanity.try_recipe", read)
    monkeypatch.setattr("gpvit.cli.evaluate.score", lambda *_, **__: {"top1": 0.5, "images": 3})
    monkeypatch.setattr("gpvit.serve.app.serve", lambda *_: None)
    monkeypatch.setattr("gpvit.export.exporting.trace", stop)
    report = SimpleNamespace(write=lambda *_: [])
    monkeypatch.setattr(
        "gpvit.cli.benchmark.measure", lambda cases, *_, **__: [case.check() for case in cases] and report
    )
    monkeypatch.setattr("gpvit.cli.benchmark.Console", lambda: SimpleNamespace(print=lambda *_: None))


@st.composite
def command_lines(draw, verb):
    """Write a verb's own options, of any values, and words in any place."""
    if verb in PARSE_THEMSELVES:
        options = ["model.name", "model.weights", "data.class", "data.root", "optim.lr", "train.steps", "out", "resume"]
        words = ["recipe.yaml"]
    else:
        parameters = inspect.signature(getattr(import_module(f"gpvit.cli.{verb}"), verb)).parameters.values()
        options = [each.name.replace("_", "-") for each in parameters if each.name not in ELSEWHERE]
        words = [draw(WORDS) for each in parameters if each.default is each.empty]
    for name in draw(st.lists(st.sampled_from([*options, "help", "nothing"]), max_size=3)):
        words += draw(st.sampled_from([[f"--{name}"], [f"--{name}", draw(WORDS)], [f"--{name}={draw(WORDS)}"]]))
    return words


@pytest.mark.parametrize("verb", VERBS)
@given(data=st.data())
def test_any_command_line(idle, folder, capsys, verb, data):
    words = data.draw(command_lines(verb))
    before = sorted(folder.rglob("*"))

    def call() -> int:
        try:
            return main([verb, *words])
        except SystemExit as ended:  # of argparse, and of --help
            return int(ended.code or 0)

    code = holds(call, folder)
    said = capsys.readouterr()
    assert code in (0, 1, 2)
    assert code == 0 or said.err.strip()
    for path in sorted({*folder.rglob("*")} - {*before}, reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
