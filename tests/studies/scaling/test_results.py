import pytest

from studies.scaling.drawing import draw_scaling
from studies.scaling.measuring import Sample, Series
from studies.scaling.results import ALLOCATOR_VARIABLES, crossings_table, exponents_table, scaling_table
from studies.scaling.subjects import Subject
from studies.tables.table import OUT_OF_MEMORY

SIZES = (224, 448, 560, 784, 1120)


def series(label, seconds_at_448, time, memory=1.0, end=None, sizes=SIZES, patch=8, known=True):
    """A series that grows as powers of the tokens."""
    samples = []
    for size in sizes:
        tokens = (size // patch) ** 2
        seconds = seconds_at_448 * (size / 448) ** (2 * time)
        memory_bytes = round(2**20 * (size / 448) ** (2 * memory)) if known else None
        samples.append(Sample(size, tokens, 10 * tokens, (0.9 * seconds, seconds, 1.3 * seconds), memory_bytes, 0.0))
    return Series(Subject(label, patch=patch), tuple(samples), end)


def test_every_measurement_and_every_end_is_a_row():
    ended = series("ended", 1.0, 2.0, end=(784, OUT_OF_MEMORY), sizes=SIZES[:3])
    table = scaling_table([series("whole", 1.0, 1.0), ended], "float32", "cpu", 3, "gpvit scaling")
    assert [(row["what"], row["size"]) for row in table.rows] == [
        *(("whole", size) for size in SIZES),
        *(("ended", size) for size in SIZES[:4]),
    ]
    assert table.rows[-1]["ms"] == OUT_OF_MEMORY
    row = table.rows[1]
    assert (row["ms"], row["iqr_ms"], row["runs"]) == (pytest.approx(1000), pytest.approx(200), 3)
    assert (row["memory_mib"], row["tokens"], row["gmacs_per_second"]) == (1, 56**2, pytest.approx(56**2 * 1e-8))


def test_exponents_are_those_of_each_range():
    (small, large) = exponents_table([series("a", 1.0, 1.1, 0.9)], 512, "gpvit scaling").rows
    assert (small["range"], small["sizes"], large["range"], large["sizes"]) == ("224-560", 3, "560-1120", 3)
    for row in (small, large):
        assert row["time"] == row["time_low"] == pytest.approx(1.1)
        assert row["memory"] == pytest.approx(0.9, abs=1e-4)
        assert row["macs"] == pytest.approx(1)


def test_unknown_memory_and_short_series_leave_cells_empty():
    rows = exponents_table([series("a", 1, 1, known=False), series("b", 1, 1, sizes=SIZES[:1])], 512, "").rows
    assert [row["what"] for row in rows] == ["a", "a"]
    assert all("memory" not in row for row in rows)


def test_crossings_are_found_where_both_were_measured():
    ours = series("ours", 1.0, 1.0)
    late = series("late", 0.5, 2.0, memory=0.9, patch=16)
    early = series("early", 0.5, 2.0, memory=2.0, sizes=SIZES[:2])
    never = series("never", 8.0, 1.0, known=False)
    rows = crossings_table([ours, late, early, never], "").rows
    assert [row["time"] for row in rows] == ["634 px", "never up to 448 px", "everywhere from 224 px"]  # 448 * sqrt(2)
    assert [row["memory"] for row in rows] == ["never up to 1120 px", "never up to 448 px", "not measured"]


def test_settings_of_the_allocator_are_told(monkeypatch):
    def notes():
        return " ".join(scaling_table([], "float32", "cpu", 1, "").notes)

    for name in ALLOCATOR_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert "as the system has it" in notes()
    monkeypatch.setenv("MALLOC_MMAP_MAX_", "0")
    assert "Allocator: `MALLOC_MMAP_MAX_=0`." in notes()


def test_chart_is_drawn_with_the_exponents_and_without_what_is_missing(tmp_path):
    panels = {"blocks": [series("steep", 1.0, 1.5), series("empty", 1, 1, sizes=())], "models": []}
    png, svg = draw_scaling(panels, 512, tmp_path)
    assert png.stat().st_size > 0
    text = svg.read_text()
    assert "steep (1.50)" in text
    assert "empty" not in text
