import numpy as np
import pytest

from studies.scaling.fitting import crossing, fit_exponent

TOKENS = np.array([4900, 7056, 9604, 15876, 23716, 38416, 65536])


@pytest.mark.parametrize("exponent", [1.0, 1.08, 2.0])
def test_exponent_of_a_power_law_is_found_whatever_its_factor(exponent):
    for factor in (3e-7, 5.0):
        fit = fit_exponent(TOKENS, factor * TOKENS**exponent)
        assert fit.value == pytest.approx(exponent)
        assert fit.low == pytest.approx(fit.high) == pytest.approx(exponent)
        assert fit.points == len(TOKENS)


def test_interval_holds_the_true_exponent_as_often_as_it_says():
    generator, tokens = np.random.default_rng(0), TOKENS[::2]  # so few that Student's t matters
    fits = [fit_exponent(tokens, tokens**1.1 * np.exp(0.05 * generator.standard_normal(4))) for _ in range(1000)]
    inside = np.mean([fit.low <= 1.1 <= fit.high for fit in fits])
    assert 0.93 < inside < 0.97
    narrow = [fit_exponent(tokens, tokens**1.1 * np.exp(0.01 * generator.standard_normal(4))) for _ in range(100)]
    assert np.mean([fit.high - fit.low for fit in narrow]) < 0.3 * np.mean([fit.high - fit.low for fit in fits])


def test_two_points_have_no_interval_and_one_no_exponent():
    fit = fit_exponent([10, 1000], [3, 300])
    assert (fit.value, fit.low, fit.high) == (pytest.approx(1), None, None)
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
