from types import SimpleNamespace

from gpvit.devices import describe_machine
from gpvit.models.variants import VARIANTS
from gpvit.profile.benchmark import Report
from gpvit.profile.measurement import Measurement
from gpvit.profile.memory import Memory
from studies.tables import speed
from studies.tables.speed import SIZES, speed_table
from studies.tables.table import OUT_OF_MEMORY


def test_smallest_setting_times_gpvit_beside_a_vit():
    table = speed_table(quick=True)
    gpvit, vit = table.rows
    assert (gpvit["model"], vit["model"], gpvit["size"]) == ("gpvit_nano", "vit_d216_p16", "64x64")
    assert gpvit["median_ms"] > 0
    assert vit["time_ratio"] == vit["median_ms"] / gpvit["median_ms"]
    text = table.markdown()
    assert all(word in text for word in ("float32", "torch", "`gpvit table 10 --quick`"))
    assert "gpvit_nano,64x64" in table.csv()


def test_full_setting_has_every_size_width_and_patch(monkeypatch):
    """The models' durations are made up here: a ViT-P8 has no memory on large images, ViT-P16 was run once."""

    def benchmark(cases, rounds, warmup, memory, progress, patience):
        runs = {"p8": (), "16": (3.0,)}
        seconds = [runs.get(c.model[-2:] if c.size != (224, 224) else "", (1.0, 2.0, 4.0)) for c in cases]
        seen = [Measurement(c, s, Memory(0, 2**20, 1.0)) for c, s in zip(cases, seconds, strict=True)]
        return Report(describe_machine(), rounds, warmup, tuple(seen), patience)

    monkeypatch.setattr(speed, "benchmark", benchmark)
    monkeypatch.setattr(speed, "count_by_name", lambda name, size: SimpleNamespace(macs=1))
    table = speed_table(device="cpu", dtype="bfloat16")
    rows = {(row["size"], row["model"]): row for row in table.rows}
    for height, width in SIZES:
        size = f"{height}x{width}"
        for level in (1, 2, 3, 4):
            dim = VARIANTS[f"gpvit_l{level}"]["embed_dim"]
            gpvit, p16, p8 = (rows[size, name] for name in (f"gpvit_l{level}", f"vit_d{dim}_p16", f"vit_d{dim}_p8"))
            assert (gpvit["median_ms"], gpvit["iqr_ms"], gpvit["runs"]) == (2000, 1500, 3)
            large = size != "224x224"
            assert p8["median_ms"] == (OUT_OF_MEMORY if large else 2000)
            assert (p16["runs"], p16["time_ratio"], p16["iqr_ms"]) == ((1, 1.5, None) if large else (3, 1, 1500))
    assert len(rows) == len(SIZES) * 4 * 3
    published = {key: row["published_ms"] for key, row in rows.items() if row["published_ms"]}
    assert published == {("800x1280", "gpvit_l1"): 83, ("800x1280", "vit_d216_p16"): 155}
    text = table.markdown()
    assert "longer than 20 s" in text
    assert "Made by `gpvit table 10 --dtype bfloat16`." in text
