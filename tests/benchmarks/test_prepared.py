"""The table of ratios, at tiny sizes."""

import pytest

from benchmarks import prepared


@pytest.mark.slow  # thirteen models, two of them in fresh processes
def test_every_ratio_is_printed(capsys):
    prepared.main(["--quick", "--rounds", "1"])
    lines = [line for line in capsys.readouterr().out.splitlines() if "gpvit_nano" in line]
    assert len(lines) == len(prepared.rows())
    for line in lines:
        ours, other, ratio = map(float, line.replace("│", " ").split()[-3:])
        assert ours > 0 < other
        assert ratio > 0
