import os
import subprocess
import sys
from contextvars import copy_context

import pytest

import gpvit
from gpvit.cli import VERBS, main, parse
from gpvit.cli.models import models
from gpvit.errors import UserError

LAZY = ("torch", "timm", "numpy", "PIL", "matplotlib", "lightning", "rich")


def run_python(code: str) -> str:
    """Run code in a fresh interpreter and return what it printed."""
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_overview_names_every_verb(arguments, capsys):
    assert main(arguments) == 0
    text = capsys.readouterr().out
    for verb, summary in VERBS.items():
        assert f"  {verb} " in text
        assert summary in text


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"gpvit {gpvit.__version__}\n"


def test_reading_arguments_leaves_the_context_as_it_was():
    before = dict(copy_context())
    parse(models, [])
    assert dict(copy_context()) == before


def test_unknown_verb_is_told_with_those_there_are(capsys):
    assert main(["predicct", "--help"]) == 2
    text = capsys.readouterr().err
    assert "'predicct'" in text
    assert all(verb in text for verb in VERBS)


def test_users_mistakes_are_a_line_and_bugs_keep_their_traceback(monkeypatch, capsys):
    assert main(["models", "l9"]) == 1
    assert capsys.readouterr().err.startswith("gpvit models: no model matches 'l9'")
    monkeypatch.setenv("GPVIT_DEBUG", "1")
    with pytest.raises(UserError):
        main(["models", "l9"])
    monkeypatch.delenv("GPVIT_DEBUG")
    monkeypatch.setattr("gpvit.cli.models.MODELS", None)
    with pytest.raises(AttributeError):
        main(["models"])


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb, capsys):
    try:
        code = main([verb, "--help"])
    except SystemExit as end:  # argparse ends the program by itself
        code = end.code
    assert code == 0
    text = capsys.readouterr().out
    assert f"gpvit {verb}" in text


@pytest.mark.parametrize("verb", ["predict", "groups", "models", "convert"])
def test_unknown_option_is_told(verb, capsys):
    with pytest.raises(SystemExit) as end:
        main([verb, "gpvit_nano", "image.png", "--colour"])
    assert end.value.code == 2
    assert "--colour" in capsys.readouterr().err


@pytest.mark.parametrize("argument", ["--siz", "--siz=3", "--sizes"])
def test_an_option_is_spelt_out_or_the_nearest_proposed(argument, capsys):
    with pytest.raises(SystemExit) as end:
        main(["groups", "gpvit_nano", "image.png", argument])
    assert end.value.code == 2
    assert "did you mean --size?" in capsys.readouterr().err


def test_waiting_threads_spin_little_unless_the_user_says_otherwise(monkeypatch):
    for given, expected in ((None, "10000"), ("7", "7")):
        environment = {} if given is None else {"GOMP_SPINCOUNT": given}
        monkeypatch.setattr(os, "environ", environment)
        main(["--version"])
        assert environment["GOMP_SPINCOUNT"] == expected


def test_the_package_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "gpvit", "--version"], capture_output=True, text=True, timeout=300)
    assert done.stdout == f"gpvit {gpvit.__version__}\n"


@pytest.mark.parametrize(
    "code",
    ["import gpvit; dir(gpvit); gpvit.__version__"]
    + [f"from gpvit.cli import main; main({a})" for a in ([], ["--help"], ["--version"], ["nonsense"])],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(code):
    loaded = run_python(f"{code}\nimport sys; print('loaded', *sys.modules)").split("loaded", 1)[1].split()
    assert "gpvit" in loaded
    assert not set(LAZY) & set(loaded)


@pytest.mark.parametrize("name", ["GPViT", pytest.param("create_model", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_public_names_come_in_any_order(name):
    run_python(f"import gpvit; gpvit.{name}; [getattr(gpvit, name) for name in gpvit.__all__]")
