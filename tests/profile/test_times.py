import time

import pytest
import torch
from torch import nn

import gpvit
from gpvit.cli import main
from gpvit.errors import UserError
from gpvit.profile.times import time_parts


class Sleep(nn.Module):
    def __init__(self, milliseconds):
        super().__init__()
        self.milliseconds = milliseconds

    def forward(self, x):
        time.sleep(self.milliseconds / 1e3)
        return x


class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList([Sleep(20), Sleep(40)])

    def forward(self, x):
        time.sleep(0.01)
        for part in self.parts:
            x = part(part(x))  # twice each
        return x


def test_parts_sum_to_the_whole_and_take_what_they_take():
    model = nn.Sequential(Outer(), Sleep(30))
    times = time_parts(model, torch.zeros(1), depth=2, rounds=3)
    taken = {row.part: row.milliseconds for row in times.rows}
    assert {part: round(value, -1) for part, value in taken.items() if part != "(own)"} == pytest.approx(
        {"0.parts.0": 40, "0.parts.1": 80, "0.(own)": 10, "1": 30}, abs=10
    )
    assert sum(taken.values()) == pytest.approx(times.milliseconds, rel=0.05)
    assert sum(row.share for row in times.rows) == pytest.approx(1, abs=0.05)
    assert not any(module._forward_hooks for module in model.modules())


def test_a_detector_is_timed_whole(tmp_path):
    model = gpvit.create_model("retinanet_gpvit_nano", num_classes=2, channels=16, min_size=64).eval()
    times = time_parts(model, torch.rand(1, 3, 64, 64), rounds=1)
    assert {"backbone", "head"} <= {row.part for row in times.rows}
    times.save(tmp_path / "parts.png", "RetinaNet")
    assert (tmp_path / "parts.png").stat().st_size > 1000
    with pytest.raises(UserError, match=r"pictures are written as \.png"):
        times.save(tmp_path / "parts.txt", "RetinaNet")


def test_the_command(tmp_path, capsys):
    command = ["profile", "gpvit_nano", "--size", "32x48"]
    assert main([*command, "--time", "--rounds", "1", "--picture", str(tmp_path / "parts.svg")]) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("stem", "blocks.1", "whole", "share"))
    assert (tmp_path / "parts.svg").is_file()
    assert main([*command, "--picture", "parts.svg"]) == 1
    assert "ask for the time of the parts: --time" in capsys.readouterr().err
