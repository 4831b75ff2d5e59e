from benchmarks import prepared
from benchmarks.prepared import WAYS


def test_every_way_of_both_models_is_timed(monkeypatch, capsys):
    monkeypatch.setattr(prepared, "SETTINGS", [((1, 3, 32, 32), "test_resnet", {})])
    monkeypatch.setattr(prepared, "ROUNDS", 1)
    prepared.main("gpvit_nano")
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if "1x3x32x32" in line]
    assert [line[1:3] for line in lines[:6]] == [[name, way] for name in ("gpvit_nano", "test_resnet") for way in WAYS]
    assert all(line[4] == "ms" for line in lines)
