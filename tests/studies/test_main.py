import csv

import pytest
from PIL import Image

from gpvit.profile.measure import Memory, duration
from studies import scaling, speed
from studies.__main__ import main

ROWS = {"1": 1, "2": 2, "3": 2, "4": 2, "5": 4, "6": 2, "7": 2, "8": 2, "9": 2, "10": 2, "design": 2}
SCALING = ["crossings.csv", "crossings.md", "exponents.csv", "exponents.md", "scaling.csv", "scaling.md"]
SCALING += ["scaling.png", "scaling.svg"]


@pytest.mark.parametrize("number", [pytest.param(n, marks=[pytest.mark.slow] * (n not in "1 5 10")) for n in ROWS])
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
    assert text.endswith(f"Made by `python -m studies table {number} --quick`.\n")
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == ROWS[number]
    for row in rows:
        name = next(iter(row.values()))
        assert name in printed
        assert f"| {name} |" in text


def test_figure_5_is_drawn_and_its_numbers_written(tmp_path, capsys):
    assert main(["figure", "5", "--quick", "--out", str(tmp_path)]) == 0
    paths = [tmp_path / f"figure_5.{ending}" for ending in ("md", "csv", "png", "svg")]
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    text = capsys.readouterr().out
    assert all(str(path) in text for path in paths)
    with paths[1].open(newline="") as file:
        assert [row["side"] for row in csv.DictReader(file)] == ["64", "128"]
    with Image.open(paths[2]) as image:
        assert min(image.size) > 500


def test_figure_6_is_drawn_of_given_models_and_images(tmp_path, capsys):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (48, 32), "teal").save(tmp_path / name)
    images = f"{tmp_path / 'a.png'},{tmp_path / 'b.png'}"
    arguments = ["figure", "6", "gpvit_nano", "--images", images, "--size", "32", "--out", str(tmp_path / "results")]
    assert main(arguments) == 0
    assert (tmp_path / "results" / "figure_6.svg").read_text().startswith("<?xml")
    assert str(tmp_path / "results" / "figure_6.png") in capsys.readouterr().out


@pytest.mark.parametrize("processes", ["pretended", pytest.param("fresh", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_scaling_measures_blocks_and_models_and_writes_tables_and_chart(processes, capsys, tmp_path, monkeypatch):
    if processes == "pretended":
        memory = lambda build, small, device: Memory(0, 2**20, (duration(build()),))  # noqa: E731
        monkeypatch.setattr(scaling, "measure_memory", memory)
    assert main(["scaling", "--quick", "--out", str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == SCALING
    text = capsys.readouterr().out
    assert all(str(tmp_path / name) in text for name in SCALING)
    rows = list(csv.DictReader((tmp_path / "scaling.csv").open()))
    assert len(rows) == (5 + 2) * 2  # blocks and models at two sizes
    assert all(float(row["ms"]) > 0 for row in rows)
    assert "python -m studies scaling --quick`" in (tmp_path / "exponents.md").read_text()


def test_peers_are_a_table_and_a_chart(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(speed.PIXELS, "cpu", 32 * 32)
    options = ["--size", "32", "--rounds", "1", "--warmup", "0", "--no-memory", "--out", str(tmp_path)]
    assert main(["peers", "test_vit", "test_resnet", *options]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["peers.csv", "peers.md", "peers.png", "peers.svg"]
    with (tmp_path / "peers.csv").open(newline="") as file:
        rows = [(row["model"], row["size"], row["runs"]) for row in csv.DictReader(file)]
    assert rows == [("test_vit", "32x32", "1"), ("test_resnet", "32x32", "1")]
    assert str(tmp_path / "peers.svg") in capsys.readouterr().out
    assert "peers test_vit test_resnet --size 32 --rounds 1" in (tmp_path / "peers.md").read_text()


@pytest.mark.slow  # every run is a fresh process: some 10 s of imports each
@pytest.mark.parametrize("name", ["exchange", "keys"])
def test_a_hurried_experiment_writes_tables_and_charts_and_repeats_nothing(name, tmp_path, capsys):
    command = ["experiment", name, "--quick", "--out", str(tmp_path)]
    assert main(command) == 0
    assert "2 of 2: " in capsys.readouterr().out
    for ending in (".md", ".csv", "_runs.md", "_runs.csv", ".png", ".svg", "_examples.png"):
        assert (tmp_path / f"{name}{ending}").stat().st_size > 0
    with (tmp_path / f"{name}_runs.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2
    assert main(command) == 0
    assert "of 2: " not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table", "11"], "python -m studies table: no table '11'; choose 1 to 10, or design"),
        (["table", "2", "--rounds", "3"], "table 2 counts and measures nothing; leave out --rounds"),
        (["table", "10", "--rounds", "0"], "rounds is 0"),
        (["figure", "5", "gpvit_nano", "--size", "64"], "leave out models, --size"),
        (["figure", "6", "gpvit_nano", "--images", "nowhere.png"], "nowhere.png"),
        (["scaling", "--rounds", "0"], "rounds is 0"),
        (["scaling", "--device", "toaster"], "choose 'cpu'"),
        (["experiment", "keys", "--seeds", "0"], "seeds is 0 and jobs 1; give 1 or more of each"),
        (["experiment", "keys", "longest.yaml"], "no recipe at longest.yaml"),
        (["peers", "resnet51"], "resnet50"),
        (["groups", "gpvit_nano"], "gpvit_nano has no weights"),
    ],
)
def test_errors_are_told_and_nothing_is_written(arguments, message, tmp_path, capsys):
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [[], ["figure", "4"], ["experiment", "locks"], ["table", "1", "--rows", "3"]])
def test_unknown_words_are_refused(arguments, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert "usage: python -m studies" in capsys.readouterr().err
