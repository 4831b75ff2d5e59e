import sys
from dataclasses import dataclass, field

import pytest
import torch

from gpvit.profile.measure import Memory
from studies import scaling
from studies.report import OUT_OF_MEMORY
from studies.scaling import BLOCKS, DIM, MODELS, Case, Subject, expected_seconds, measure_scaling

SIZES = (64, 128, 256, 512)
C = DIM


@dataclass(frozen=True)
class Recorded:
    """Stands for a subject whose time follows a formula, and which may outgrow the memory of either process."""

    label: str
    seconds: object = lambda size: 0.1
    limit: float = float("inf")
    limit_here: float = float("inf")
    calls: list = field(default_factory=list, compare=False)

    def tokens(self, size):
        return size**2 // 64

    def macs(self, size):
        return size**2


class Made(Case):
    def build(self):
        def step():
            self.subject.calls.append(self.size)
            self.faults.append(1)
            if self.size > self.subject.limit_here:
                raise MemoryError

        return step


@pytest.fixture(autouse=True)
def fresh_processes(monkeypatch):
    def measure(build, small, device):
        case = build.__self__
        assert small.__self__.size == 64
        if case.size > case.subject.limit:
            raise MemoryError
        return Memory(0, 4 * case.size**2, (case.subject.seconds(case.size),))

    monkeypatch.setattr(scaling, "measure_memory", measure)
    monkeypatch.setattr("gpvit.profile.measure.SHORTEST_S", 0.0)


def measured(*subjects, sizes=SIZES, **options):
    rows = measure_scaling(subjects, sizes, make=Made, **options)
    return [[row for row in rows if row["what"] == subject.label] for subject in subjects]


def test_series_ends_before_a_step_that_takes_longer_than_the_limit():
    quadratic = Recorded("quadratic", lambda size: (size / 64) ** 4)  # 1, 16, 256, 4096 s
    (rows,) = measured(quadratic, rounds=1, time_limit_s=260)
    assert [row["size"] for row in rows] == [64, 128, 256, 512]
    assert rows[-1]["ms"] == "not run: about 4096 s expected"
    assert set(quadratic.calls) == {64, 128, 256}


def test_lack_of_memory_ends_a_series_and_not_the_others():
    elsewhere = Recorded("too large for its own process", limit=128)
    here = Recorded("too large for this one", limit_here=256)
    first, second, third = measured(elsewhere, here, Recorded("other"), rounds=2)
    assert [(row["size"], row["ms"]) for row in (first[-1], second[-1])] == [(256, OUT_OF_MEMORY), (512, OUT_OF_MEMORY)]
    assert [len(rows) for rows in (first, second, third)] == [3, 4, 4]
    assert not isinstance(third[-1]["ms"], str)


def test_a_row_has_every_figure():
    subject = Recorded("a")
    ((row, _),) = measured(subject, sizes=(64, 96), rounds=4)
    assert (row["tokens"], row["gmacs"], row["runs"]) == (64, 64**2 / 1e9, 4)
    assert row["memory_mib"] == 4 * 64**2 / 2**20
    assert row["page_faults"] == (None if sys.platform == "win32" else 1)
    assert row["gmacs_per_second"] == pytest.approx(1e3 * row["gmacs"] / row["ms"])
    assert subject.calls == [64, 96] * 5


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
        ({"time_limit_s": 0}, "time limit 0 s"),
        ({"sizes": ()}, "growing multiples of 16"),
        ({"sizes": (64, 100)}, "growing multiples of 16"),
        ({"sizes": (96, 64)}, "growing multiples of 16"),
    ],
)
def test_settings_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        measured(Recorded("any"), **arguments)


@pytest.mark.parametrize("subject", [BLOCKS[1], Subject("gpvit_nano")])
def test_a_real_case_runs_and_counts_page_faults(subject):
    case = Case(subject, 64)
    step = case.build()
    step()
    step()
    assert len(case.faults) == 2
    assert str(case) == f"{subject.label}, 64 px"


@pytest.mark.parametrize("size", [224, 448, 1008])
def test_macs_of_blocks_are_those_of_the_closed_forms(size):
    counted = {block.label: block.macs(size) for block in BLOCKS}
    side = size // 8
    N = side**2
    assert counted["global attention"] == 12 * N * C**2 + 2 * N**2 * C + 9 * N * C
    assert counted["windows"] == 12 * N * C**2 + 2 * N * 49 * C + 9 * N * C  # all windows are whole
    # Stripes are 2 tokens wide: half of the channels attend along each side.
    assert counted["local stripes"] == 12 * N * C**2 + 2 * N * (2 * side) * C + 18 * N * C
    assert counted["GP, M = 64"] - counted["GP, M = 16"] == (64 - 16) * (11 * C**2 + 4 * N * C)


@pytest.mark.parametrize("subject", BLOCKS + MODELS, ids=lambda subject: subject.label)
def test_subjects_have_the_tokens_that_they_say(subject):
    if subject.block is not None:
        _, height, width, channels = subject.inputs(224, "meta").shape
        assert (height * width, channels) == (subject.tokens(224), C)
        return
    with torch.device("meta"):
        features = subject.create().forward_features(subject.inputs(224, "meta"))
    assert features.shape[-1] == C
    spatial = features.shape[1:-1].numel() - subject.label.startswith("vit")  # less the class token
    assert spatial == subject.tokens(224)
