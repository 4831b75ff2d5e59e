"""Power laws through measurements, and where one curve comes to lie above another."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Exponent:
    """The ``p`` of ``value ~ tokens ** p``.

    Args:
        value: Slope of the straight line through the logarithms, by least squares.
        low: Lower end of its confidence interval; None for fewer than three points.
        high: Upper end of the same.
        points: Number of points.
    """

    value: float
    low: float | None
    high: float | None
    points: int


def fit_exponent(tokens: Sequence[float], values: Sequence[float], confidence: float = 0.95) -> Exponent | None:
    """Fit a power law by least squares in the logarithms.

    The interval is Student's, with two degrees of freedom less than points: it takes the points' distances from the
    line for independent noise of one size. It covers noise, and warns of a curve that is no power law, as such a curve
    widens it. It does not cover what all points share, nor says anything beyond the range of the points.

    Args:
        tokens: Where was measured.
        values: What; the same number, and positive.
        confidence: Share of such intervals that hold the true exponent.

    Returns:
        The exponent, or None for fewer than two points.
    """
    if len(tokens) < 2:
        return None
    line = stats.linregress(np.log(tokens), np.log(values))
    if len(tokens) < 3:
        return Exponent(float(line.slope), None, None, len(tokens))
    margin = stats.t.ppf((1 + confidence) / 2, len(tokens) - 2) * line.stderr
    return Exponent(float(line.slope), float(line.slope - margin), float(line.slope + margin), len(tokens))


def crossing(sizes: Sequence[float], values: Sequence[float], reference: Sequence[float]) -> float | None:
    """Return the size from which on values are greater than a reference, interpolated in the logarithms.

    Args:
        sizes: Where both were measured, growing and positive.
        values: One for each size, positive.
        reference: As many, positive.

    Returns:
        The size; the first one if values are greater everywhere, and None if they are not at the last.
    """
    ratio = np.log(values) - np.log(reference)
    if not len(ratio) or ratio[-1] <= 0:
        return None
    below = np.flatnonzero(ratio <= 0)
    if not len(below):
        return float(sizes[0])
    i = below[-1]
    return float(np.exp(np.interp(0, ratio[i : i + 2], np.log(sizes[i : i + 2]))))
