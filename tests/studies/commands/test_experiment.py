import csv

import pytest

from gpvit.cli import main


@pytest.mark.slow  # every run is a fresh process: some 10 s of imports each
@pytest.mark.parametrize("name", ["exchange", "keys"])
def test_a_hurried_experiment_writes_tables_and_pictures_and_repeats_nothing(name, tmp_path, capsys):
    command = ["experiment", name, "--quick", "--out", str(tmp_path)]
    assert main(command) == 0
    assert "2 of 2: " in capsys.readouterr().out
    for file in (f"{name}.md", f"{name}.csv", f"{name}_runs.csv", f"{name}.png", f"{name}.svg", f"{name}_examples.png"):
        assert (tmp_path / file).stat().st_size > 100
    with (tmp_path / f"{name}_runs.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2
    assert main(command) == 0
    assert "of 2: " not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds", "0"], "seeds is 0 and jobs 1; give 1 or more of each"),
        (["longest.yaml"], "no recipe at longest.yaml"),
    ],
)
def test_what_cannot_be_run_is_told_before_anything_is(options, message, tmp_path, capsys):
    assert main(["experiment", "keys", *options, "--out", str(tmp_path)]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
