"""The command for a GPU, at tiny sizes on the CPU."""

import json

import pytest

from benchmarks import gpu


def test_a_stage_that_is_done_is_not_done_again(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "stages", lambda quick: {"dense": gpu.dense})
    arguments = ["--out", str(tmp_path), "--device", "cpu", "--quick"]
    gpu.main(arguments)
    path = tmp_path / "dense.json"
    rows = json.loads(path.read_text())["rows"]
    assert [(row["model"], row["way"]) for row in rows] == [
        ("segformer_gpvit_nano", way) for way in ("eager", "folded")
    ]
    assert all(row["ms"] > 0 and 0 < row["of peak"] < 1 for row in rows)
    path.write_text(path.read_text().replace('"eager"', '"kept"'))
    gpu.main(arguments)
    assert "| kept |" in (tmp_path / "gpu.md").read_text()


def test_no_stage_begins_when_time_is_over(tmp_path):
    gpu.main(["--out", str(tmp_path), "--device", "cpu", "--quick", "--minutes", "0"])
    assert [path.name for path in tmp_path.iterdir()] == ["gpu.md"]


@pytest.mark.slow  # five stages in processes of their own
def test_all_stages_run_on_a_cpu(tmp_path):
    gpu.main(["--out", str(tmp_path), "--device", "cpu", "--quick"])
    assert {path.stem for path in tmp_path.glob("*.json")} >= {*gpu.stages(quick=True)}
    assert "passed" in json.loads((tmp_path / "tests.json").read_text())["printed"]
