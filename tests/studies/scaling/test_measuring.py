import math
import sys

import pytest
import torch
from torch import nn

from studies.scaling import measuring
from studies.scaling.first_step import FirstStep
from studies.scaling.measuring import expected_seconds, measure_scaling
from studies.tables.table import OUT_OF_MEMORY

SIZES = (64, 128, 256, 512)


class Recorded:
    """Stands for a subject whose time is given by a formula, and which may outgrow the memory of either process."""

    def __init__(self, label, seconds, limit=math.inf, limit_here=math.inf):
        self.label, self.seconds, self.limit, self.limit_here = label, seconds, limit, limit_here
        self.calls: list[int] = []

    def tokens(self, size):
        return size**2 // 64

    def macs(self, module, size):
        return size**2

    def create(self):
        subject = self

        class Module(nn.Module):
            def forward(self, x):
                subject.calls.append(len(x))
                return torch.empty(10**15) if len(x) > subject.limit_here else x

        return Module()

    def inputs(self, size, device):
        return torch.empty(size, device=device)


@pytest.fixture(autouse=True)
def first_steps(monkeypatch):
    def measure(subject, size, dtype, device):
        if size > subject.limit:
            raise MemoryError
        return FirstStep(subject.seconds(size), 4 * size**2)

    monkeypatch.setattr(measuring, "measure_first_step", measure)
    monkeypatch.setattr(measuring, "SECONDS_A_RUN", 0.0)


def test_series_ends_before_a_step_that_patience_is_too_short_for():
    quadratic = Recorded("quadratic", lambda size: (size / 64) ** 4)  # 1, 16, 256, 4096 s
    (series,) = measure_scaling([quadratic], SIZES, rounds=1, patience=260)
    assert [sample.size for sample in series.samples] == [64, 128, 256]
    assert series.end == (512, "not run: about 4096 s expected")
    assert set(quadratic.calls) == {64, 128, 256}


def test_lack_of_memory_ends_a_series_and_not_the_others():
    elsewhere = Recorded("too large for its own process", lambda size: 0.1, limit=128)
    here = Recorded("too large for this one", lambda size: 0.1, limit_here=256)
    other = Recorded("other", lambda size: 0.1)
    first, second, third = measure_scaling([elsewhere, here, other], SIZES, rounds=2)
    assert (first.end, second.end, third.end) == ((256, OUT_OF_MEMORY), (512, OUT_OF_MEMORY), None)
    assert [len(series.samples) for series in (first, second, third)] == [2, 3, 4]


def test_cases_take_turns_after_a_round_of_warming_up_and_long_ones_take_fewer():
    calls: list[int] = []
    short, long = Recorded("short", lambda size: 0.1), Recorded("long", lambda size: 9.0)
    short.calls = long.calls = calls
    first, second = measure_scaling([short, long], (64, 96), rounds=4)
    assert calls == [64, 96] + [64, 96] * 2 + [64, 96] * 2 + [64, 96] * 2
    assert [len(sample.seconds) for sample in (*first.samples, *second.samples)] == [4, 4, 2, 2]
    assert first.samples[0].memory == 4 * 64**2
    assert (sys.platform == "win32") == (first.samples[0].page_faults is None)


def test_growth_is_expected_to_go_on_as_over_the_last_two_sizes():
    assert expected_seconds([], 64) == 0
    assert expected_seconds([(64, 1.0)], 128) == pytest.approx(4)  # in proportion to the tokens
    assert expected_seconds([(64, 9.0), (128, 1.0), (256, 8.0)], 512) == pytest.approx(64)
    # Noise makes steps of a few milliseconds grow in ways that cannot go on.
    assert expected_seconds([(64, 1.0), (128, 0.5)], 256) == pytest.approx(2)
    assert expected_seconds([(64, 0.01), (128, 1.0)], 256) == pytest.approx(16)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rounds": 0}, "rounds is 0"),
        ({"patience": 0}, "patience 0 s"),
        ({"sizes": ()}, "growing multiples of 16"),
        ({"sizes": (64, 100)}, "growing multiples of 16"),
        ({"sizes": (96, 64)}, "growing multiples of 16"),
    ],
)
def test_settings_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        measure_scaling([Recorded("any", lambda size: 0.1)], **arguments)
