import csv
import io

from studies.report import OUT_OF_MEMORY, Column, ResultTable

TABLE = ResultTable(
    "table_0",
    "Two models",
    [Column("model", "model"), Column("params", "parameters"), Column("ms", "ms", 1)],
    [{"model": "a|b", "params": 1_232_584, "ms": 1234.567}, {"model": "c", "ms": OUT_OF_MEMORY}],
    ["A note."],
    "python -m studies table 0",
)


def test_markdown_has_title_rows_notes_and_command():
    assert TABLE.markdown() == (
        "## Two models\n\n| model | parameters | ms |\n| --- | ---: | ---: |\n| a\\|b | 1232584 | 1,234.6 |\n"
        "| c |  | out of memory |\n\nA note.\n\nMade by `python -m studies table 0`.\n"
    )


def test_csv_keeps_all_digits():
    rows = list(csv.DictReader(io.StringIO(TABLE.csv())))
    assert rows[0] == {"model": "a|b", "params": "1232584", "ms": "1234.567"}
    assert rows[1] == {"model": "c", "params": "", "ms": OUT_OF_MEMORY}


def test_written_files_replace_earlier_ones(tmp_path):
    (tmp_path / "table_0.md").write_text("old")
    markdown, table = TABLE.write(tmp_path)
    assert markdown.read_text() == TABLE.markdown()
    assert table.read_text() == TABLE.csv()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table_0.csv", "table_0.md"]
