"""GPViT's published scores beside others'."""

import csv
from pathlib import Path

import pytest

from studies.__main__ import main
from studies.stands import TASKS, family, stands_table

ROWS = Path(__file__).parents[2] / "docs/results/stands.csv"


def test_the_committed_table_holds_gpvit_and_others_in_every_task():
    with ROWS.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for task in TASKS:
        scored = [row for row in rows if row["task"] == task]
        assert {row["model"][-2:] for row in scored if family(row["model"]) == "GPViT"} == {"L1", "L2", "L3", "L4"}
        assert len(scored) > 4
        assert [float(row["score"]) for row in scored] == sorted(float(row["score"]) for row in scored)
        assert all(row["remark"] for row in scored)


def test_what_matches_scores_no_lower_and_costs_no_more():
    table = stands_table(quick=True)
    own = {(row["task"], row["model"][-2:]): row for row in table.rows if family(row["model"]) == "GPViT"}
    matches = [(row, name) for row in table.rows for name in row["matches_gmacs"].split(", ") if name]
    assert matches
    for row, name in matches:
        assert row["score"] >= own[row["task"], name]["score"]
        assert row["gmacs"] <= own[row["task"], name]["gmacs"]


@pytest.mark.slow  # counts every network
def test_the_verb_writes_what_is_committed(tmp_path):
    assert main(["stands", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "stands.csv").read_text() == ROWS.read_text()
    assert (tmp_path / "stands.png").stat().st_size > 50_000
