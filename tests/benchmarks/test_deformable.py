import sys

import pytest
import torch

from benchmarks.deformable import LEVELS, WAYS, measure


def test_both_ways_compute_the_same():
    shapes = [(4, 5), (2, 3)]
    value, weights = torch.randn(2, 26, 3, 4), torch.rand(2, 7, 3, 2, 4)
    locations = 1.5 * torch.rand(2, 7, 3, 2, 4, 2) - 0.25
    textbook, ours = (WAYS[way](value, shapes, locations, weights) for way in ("textbook", "ours"))
    torch.testing.assert_close(ours, textbook)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is read from /proc")
@pytest.mark.parametrize("attention", LEVELS)
def test_ours_takes_less_memory_and_no_more_time(attention):
    (seconds, added), (our_seconds, our_added) = (measure(attention, way) for way in ("textbook", "ours"))
    assert our_added < 0.7 * added
    assert our_seconds < 1.3 * seconds
