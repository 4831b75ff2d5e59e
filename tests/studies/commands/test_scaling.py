import csv

from gpvit.cli import main

FILES = ["scaling.md", "scaling.csv", "exponents.md", "exponents.csv", "crossings.md", "crossings.csv"]
FILES += ["scaling.png", "scaling.svg"]


def test_quick_run_measures_blocks_and_models_and_writes_tables_and_chart(capsys, tmp_path):
    assert main(["scaling", "--quick", "--out", str(tmp_path / "new")]) == 0
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(FILES)
    text = capsys.readouterr().out
    assert all(str(tmp_path / "new" / name) in text for name in FILES)
    rows = list(csv.DictReader((tmp_path / "new" / "scaling.csv").open()))
    assert len(rows) == (5 + 2) * 2  # blocks and models at two sizes
    assert all(float(row["ms"]) > 0 for row in rows)
    assert "`gpvit scaling --quick`" in (tmp_path / "new" / "exponents.md").read_text()


def test_bad_settings_are_told(capsys):
    assert main(["scaling", "--rounds", "0"]) == 1
    assert "rounds is 0" in capsys.readouterr().err
    assert main(["scaling", "--device", "toaster"]) == 1
    assert "choose 'cpu'" in capsys.readouterr().err
