import numpy as np
import pytest

from studies.report import OUT_OF_MEMORY, chart, save_chart
from studies.scaling_tables import (
    ALLOCATOR_VARIABLES,
    crossing,
    crossings_table,
    draw_scaling,
    exponents_table,
    fit_exponent,
    scaling_table,
)

SIZES = (224, 448, 560, 784, 1120)
TOKENS = np.array([4900, 7056, 9604, 15876, 23716, 38416, 65536])


def series(label, ms_at_448, time, memory=1.0, sizes=SIZES, patch=8, known=True):
    """Rows that grow as powers of the tokens."""
    return [
        {
            "what": label,
            "size": size,
            "tokens": (size // patch) ** 2,
            "gmacs": 10 * (size // patch) ** 2,
            "ms": ms_at_448 * (size / 448) ** (2 * time),
            "memory_mib": (size / 448) ** (2 * memory) if known else None,
        }
        for size in sizes
    ]


def test_exponents_are_those_of_each_range():
    (small, large) = exponents_table(series("a", 1.0, 1.1, 0.9), 512).rows
    assert (small["range"], small["sizes"], large["range"], large["sizes"]) == ("224-560", 3, "560-1120", 3)
    for row in (small, large):
        assert row["time"] == pytest.approx(row["time_low"]) == pytest.approx(1.1)
        assert row["memory"] == pytest.approx(0.9)
        assert row["macs"] == pytest.approx(1)


def test_unknown_memory_short_series_and_their_ends_leave_cells_empty():
    end = {"what": "a", "size": 1568, "ms": OUT_OF_MEMORY}
    rows = exponents_table([*series("a", 1, 1, known=False), end, *series("b", 1, 1, sizes=SIZES[:1])], 512).rows
    assert [(row["what"], row["range"]) for row in rows] == [("a", "224-560"), ("a", "560-1120")]
    assert all("memory" not in row for row in rows)


def test_crossings_are_found_where_both_were_measured():
    ours = series("ours", 1.0, 1.0)
    late = series("late", 0.5, 2.0, memory=0.9, patch=16)
    early = series("early", 0.5, 2.0, memory=2.0, sizes=SIZES[:2])
    never = series("never", 8.0, 1.0, known=False)
    rows = crossings_table([*ours, *late, *early, *never]).rows
    assert [row["time"] for row in rows] == ["634 px", "never up to 448 px", "everywhere from 224 px"]  # 448 * sqrt(2)
    assert [row["memory"] for row in rows] == ["never up to 1120 px", "never up to 448 px", "not measured"]


def test_settings_of_the_allocator_are_told(monkeypatch):
    def notes():
        return " ".join(scaling_table([], "float32", "cpu", 1).notes)

    for name in ALLOCATOR_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert "as the system has it" in notes()
    monkeypatch.setenv("MALLOC_MMAP_MAX_", "0")
    assert "Allocator: `MALLOC_MMAP_MAX_=0`." in notes()


def test_chart_is_drawn_with_the_exponents_and_without_what_is_missing(tmp_path):
    end = {"what": "empty", "size": 224, "ms": OUT_OF_MEMORY}
    with chart(8, 6) as figure:
        draw_scaling(figure, {"blocks": [*series("steep", 1.0, 1.5), end], "models": []}, 512)
        _, svg = save_chart(figure, tmp_path, "scaling")
    text = svg.read_text()
    assert "steep (1.50)" in text
    assert "empty" not in text


@pytest.mark.parametrize("exponent", [1.0, 1.08, 2.0])
def test_exponent_of_a_power_law_is_found_whatever_its_factor(exponent):
    for factor in (3e-7, 5.0):
        value, low, high = fit_exponent(TOKENS, factor * TOKENS**exponent)
        assert value == pytest.approx(exponent)
        assert low == pytest.approx(high) == pytest.approx(exponent)


def test_interval_holds_the_true_exponent_as_often_as_it_says():
    generator, tokens = np.random.default_rng(0), TOKENS[::2]  # so few that Student's t matters
    fits = [fit_exponent(tokens, tokens**1.1 * np.exp(0.05 * generator.standard_normal(4))) for _ in range(1000)]
    assert 0.93 < np.mean([low <= 1.1 <= high for _, low, high in fits]) < 0.97
    narrow = [fit_exponent(tokens, tokens**1.1 * np.exp(0.01 * generator.standard_normal(4))) for _ in range(100)]
    assert np.mean([high - low for _, low, high in narrow]) < 0.3 * np.mean([high - low for _, low, high in fits])


def test_two_points_have_no_interval_and_one_no_exponent():
    assert fit_exponent([10, 1000], [3, 300]) == (pytest.approx(1), None, None)
    assert fit_exponent([10], [3]) is None


def test_crossing_is_interpolated_in_the_logarithms():
    sizes = np.array([224.0, 448, 672, 1008, 2048])
    assert crossing(sizes, (sizes / 600) ** 4, (sizes / 600) ** 2) == pytest.approx(600)
    # What lies above for a while and then not is below until the last time.
    assert 448 < crossing(sizes, [2, 0.5, 2, 2, 2], [1] * 5) < 672


def test_curves_that_do_not_cross():
    sizes = [224, 448, 672]
    assert crossing(sizes, [2, 2, 2], [1, 1, 1]) == 224
    assert crossing(sizes, [1, 1, 1], [2, 2, 2]) is None
    assert crossing(sizes, [2, 2, 1], [1, 1, 2]) is None
