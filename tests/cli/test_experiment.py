import csv

import pytest

from gpvit.cli import main

pytestmark = pytest.mark.slow  # every run is a fresh process: some 10 s of imports each


@pytest.mark.parametrize("name", ["exchange", "keys"])
def test_a_hurried_experiment_writes_table_runs_and_chart_and_repeats_nothing(name, tmp_path, capsys):
    assert main(["experiment", name, "--quick", "--out", str(tmp_path)]) == 0
    assert "2 of 2: " in capsys.readouterr().out
    for file in (f"{name}.md", f"{name}.csv", f"{name}_runs.csv", f"{name}.png", f"{name}.svg"):
        assert (tmp_path / file).stat().st_size > 100
    with (tmp_path / f"{name}_runs.csv").open() as file:
        runs = list(csv.DictReader(file))
    assert len(runs) == 2
    assert main(["experiment", name, "--quick", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert " of " not in printed.splitlines()[0]
    assert runs[0]["exchange"].split(",")[0] in printed


def test_no_seeds(tmp_path, capsys):
    assert main(["experiment", "keys", "--seeds", "0", "--out", str(tmp_path)]) == 1
    assert "seeds is 0 and jobs 1; give 1 or more of each" in capsys.readouterr().err
