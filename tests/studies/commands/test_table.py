import csv

import pytest

from gpvit.cli import main

ROWS = {"1": 1, "2": 2, "3": 2, "4": 2, "5": 4, "6": 2, "7": 2, "8": 2, "9": 2, "10": 2, "design": 2}


@pytest.mark.parametrize("number", ROWS)
def test_every_table_is_printed_and_written(number, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")  # no cell is wrapped
    assert main(["table", number, "--quick", "--out", str(tmp_path)]) == 0
    markdown, table = tmp_path / f"table_{number}.md", tmp_path / f"table_{number}.csv"
    assert sorted(tmp_path.iterdir()) == sorted([markdown, table])
    printed = capsys.readouterr().out
    assert str(markdown) in printed
    assert str(table) in printed
    text = markdown.read_text()
    assert text.startswith("## ")
    assert text.endswith(f"Made by `gpvit table {number} --quick`.\n")
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == ROWS[number]
    for row in rows:
        name = next(iter(row.values()))
        assert name in printed
        assert f"| {name} |" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["11"], "gpvit table: no table '11'; choose 1 to 10, or design"),
        (["2", "--rounds", "3"], "gpvit table: table 2 counts and measures nothing; leave out --rounds"),
        (["10", "--rounds", "0"], "gpvit table: "),
    ],
)
def test_errors_are_told_and_nothing_is_written(arguments, message, tmp_path, capsys):
    assert main(["table", *arguments, "--out", str(tmp_path / "out")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
