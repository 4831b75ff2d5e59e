import pytest
import torch

from benchmarks import deformable
from benchmarks.deformable import WAYS


def test_both_ways_compute_the_same():
    shapes = [(4, 5), (2, 3)]
    value, weights = torch.randn(2, 26, 3, 4), torch.rand(2, 7, 3, 2, 4)
    locations = 1.5 * torch.rand(2, 7, 3, 2, 4, 2) - 0.25
    textbook, ours = (WAYS[way](value, shapes, locations, weights) for way in ("textbook", "ours"))
    torch.testing.assert_close(ours, textbook)


@pytest.mark.slow
def test_every_way_of_every_attention_is_measured(monkeypatch, capsys):
    monkeypatch.setattr(deformable, "LEVELS", {"smallest": ([(4, 5)], [(4, 5), (2, 3)])})
    deformable.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["smallest", way] for way in WAYS]
    assert all(" ms" in line for line in lines)
