from types import SimpleNamespace

import pytest
from PIL import Image

from gpvit.models.variants import VARIANTS
from gpvit.profile import benchmark as engine
from gpvit.profile.measure import Memory
from studies import speed
from studies.report import OUT_OF_MEMORY, chart, save_chart
from studies.speed import PEER_SIZES, PEERS, SIZES, draw_peers, measure_peers, published_top1, speed_table
from studies.tables import count_by_name

WITH_FIXED_SIZES = ("swin_tiny_patch4_window7_224", "deit_small_patch16_224", "hiera_tiny_224")


@pytest.fixture
def durations(monkeypatch):
    """Let durations of steps be made up: by the case, none where it runs out of memory."""

    def pretend(seconds_of):
        def measure(runs, rounds, memory, progress):
            for run in runs:
                seconds = seconds_of(run.case)
                run.memory = Memory(0, 2**20, (1.0,))
                run.durations, run.out_of_memory = [0.0] * run.warmup + list(seconds), not seconds

        monkeypatch.setattr(engine, "measure", measure)
        monkeypatch.setattr(speed.Case, "check", lambda case: None)  # without a GPU

    return pretend


def test_smallest_setting_times_gpvit_beside_a_vit():
    table = speed_table(quick=True)
    gpvit, vit = table.rows
    assert (gpvit["model"], vit["model"], gpvit["size"]) == ("gpvit_nano", "vit_d216_p16", "64x64")
    assert gpvit["median_ms"] > 0
    assert vit["time_ratio"] == vit["median_ms"] / gpvit["median_ms"]
    text = table.markdown()
    assert all(word in text for word in ("float32", "torch"))
    assert "gpvit_nano,64x64" in table.csv()


def test_full_setting_has_every_size_width_and_patch(durations, monkeypatch):
    """The models' durations are made up here: a ViT-P8 has no memory on large images, ViT-P16 was run once."""

    def seconds_of(case):
        runs = {"p8": (), "16": (3.0,)}
        return runs.get(case.model[-2:] if case.size != (224, 224) else "", (1.0, 2.0, 4.0))

    durations(seconds_of)
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
    assert "cpu, bfloat16, eager" in text


@pytest.mark.parametrize("model", WITH_FIXED_SIZES)
def test_models_for_one_size_are_built_for_another(model):
    assert count_by_name(model, (800, 1280)).macs > 20 * 4.4e9  # 20.4 times the pixels of their own size


@pytest.mark.slow  # 39 models
@pytest.mark.parametrize("size", PEER_SIZES)
@pytest.mark.parametrize("model", PEERS)
def test_every_peer_takes_every_size(model, size):
    assert count_by_name(model, size).macs > 1e9


def test_small_models_are_measured(monkeypatch):
    monkeypatch.setitem(speed.PIXELS, "cpu", 2 * 32 * 32)
    table = measure_peers(["gpvit_nano", "test_vit"], [(32, 32), (32, 64)], rounds=2, warmup=0, memory=False)
    assert [(row["model"], row["size"], row["batch_size"]) for row in table.rows] == [
        (model, size, batch) for size, batch in (("32x32", 2), ("32x64", 1)) for model in ("gpvit_nano", "test_vit")
    ]
    for row in table.rows:
        assert row["images_per_second"] == pytest.approx(1e3 * row["batch_size"] / row["median_ms"])
        assert (row["runs"], row["kernels"], row["top1"]) == (2, "eager", None)
    assert "float32" in table.markdown()


@pytest.fixture
def measured(durations):
    """Let every model take its batch in milliseconds, and ConvNeXt-T lack memory."""
    durations(lambda case: () if case.model == "convnext_tiny" else (1e-3 * case.batch_size,) * 3)


def test_a_gpu_runs_bfloat16_eager_and_compiled(measured, tmp_path):
    table = measure_peers(["gpvit_l1", "swin_tiny_patch4_window7_224"], [(224, 224)], device="cuda")
    assert [row["kernels"] for row in table.rows] == ["eager", "eager", "compiled", "compiled"]
    assert {row["batch_size"] for row in table.rows} == {64}
    assert "cuda, bfloat16" in table.markdown()
    with chart(8, 6) as figure:
        draw_peers(figure, table)
        png, svg = save_chart(figure, tmp_path, "peers")
    with Image.open(png) as image:
        assert image.height > image.width  # a row of panels for each kind of kernels
    assert all(svg.read_text().count(text) == 2 for text in ("GPViT-L1", "Swin-T"))


def test_what_cannot_be_measured_says_why(measured):
    table = measure_peers(["convnext_tiny", "hiera_tiny_224", "gpvit_l1"], [(100, 100)])
    convnext, hiera, gpvit = table.rows
    assert convnext["median_ms"] == OUT_OF_MEMORY
    assert hiera["median_ms"].startswith("not for 100x100: ")
    assert gpvit["images_per_second"] == pytest.approx(1000)
    assert convnext["images_per_second"] is hiera.get("images_per_second") is None
    with pytest.raises(ValueError, match=r"not for 33x33: .*name a size that one of hiera_tiny_224 takes"):
        measure_peers(["hiera_tiny_224"], [(33, 33)])


def test_accuracies_are_published_ones():
    assert published_top1("gpvit_l2") == (83.4, "readme")
    assert published_top1("swin_tiny_patch4_window7_224") == (81.3, "paper")
    assert published_top1("hiera_base_224") == (84.5, "kecam; masked pretraining")
    assert [name for name in PEERS if published_top1(name)[0] is None] == ["vit_small_patch16_224"]


def test_unknown_models_are_refused_before_anything_runs():
    with pytest.raises(ValueError, match="swin_tiny_patch4_window7_224"):
        measure_peers(["swin_tiny_patch4_windows7_224"])
