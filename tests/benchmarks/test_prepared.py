"""The table of ratios, at tiny sizes."""

import csv

import pytest

from benchmarks import prepared


@pytest.mark.slow  # thirteen models, two of them in fresh processes
def test_every_ratio_is_written(tmp_path):
    prepared.main(["--quick", "--rounds", "1", "--out", str(tmp_path)])
    with (tmp_path / "ratios.csv").open() as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    assert len(rows) == len(prepared.rows()) + 1
    for row in rows[:-1]:
        assert float(row["ratio"]) == pytest.approx(float(row["ms"]) / float(row["other_ms"]), rel=0.01)
