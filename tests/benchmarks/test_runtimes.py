"""The comparison of runtimes, on small models."""

import pytest

from benchmarks import runtimes


@pytest.mark.slow  # three models are exported
def test_every_runtime_is_measured_and_written(tmp_path, monkeypatch, capsys):
    small = {
        "classification": ("64x64", ("gpvit_nano", "resnet18")),
        "segmentation": ("64x64", ("segformer_gpvit_nano",)),
        "features": ("64x64", ("gpvit_nano",)),
    }
    monkeypatch.setattr(runtimes, "SETTINGS", small)
    names = [name for name in runtimes.RUNTIMES if name != "compiled"]
    runtimes.main(["--settings", *small, "--runtimes", *names, "--rounds", "1", "--out", str(tmp_path)])
    rows = (tmp_path / "runtimes.csv").read_text().splitlines()
    assert len(rows) == 1 + 4 * len(names) - 1  # features have no int8
    assert (tmp_path / "runtimes.png").stat().st_size > 1000
