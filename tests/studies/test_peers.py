import pytest
from PIL import Image

from gpvit.devices import describe_machine
from gpvit.profile.benchmark import Report
from gpvit.profile.measurement import Measurement
from studies import peers
from studies.peers import PEERS, SIZES, measure_peers, published_top1
from studies.peers_chart import draw_peers
from studies.tables.counting import count_by_name
from studies.tables.table import OUT_OF_MEMORY

WITH_FIXED_SIZES = ("swin_tiny_patch4_window7_224", "deit_small_patch16_224", "hiera_tiny_224")


@pytest.mark.parametrize("model", WITH_FIXED_SIZES)
def test_models_for_one_size_are_built_for_another(model):
    assert count_by_name(model, (800, 1280)).macs > 20 * 4.4e9  # 20.4 times the pixels of their own size


@pytest.mark.slow  # 39 models
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("model", PEERS)
def test_every_peer_takes_every_size(model, size):
    assert count_by_name(model, size).macs > 1e9


def test_small_models_are_measured(monkeypatch):
    monkeypatch.setitem(peers.PIXELS, "cpu", 2 * 32 * 32)
    table = measure_peers(["gpvit_nano", "test_vit"], [(32, 32), (32, 64)], rounds=2, warmup=0, memory=False)
    assert [(row["model"], row["size"], row["batch_size"]) for row in table.rows] == [
        (model, size, batch) for size, batch in (("32x32", 2), ("32x64", 1)) for model in ("gpvit_nano", "test_vit")
    ]
    for row in table.rows:
        assert row["images_per_second"] == pytest.approx(1e3 * row["batch_size"] / row["median_ms"])
        assert (row["runs"], row["kernels"], row["top1"]) == (2, "eager", None)
    assert "float32" in table.markdown()


@pytest.fixture
def measured(monkeypatch):
    """Let every model take its batch in milliseconds, and ConvNeXt-T lack memory."""

    def benchmark(cases, rounds, warmup, memory, progress, patience):
        seconds = {case: () if case.model == "convnext_tiny" else (1e-3 * case.batch_size,) * rounds for case in cases}
        return Report(describe_machine(), rounds, warmup, tuple(Measurement(c, s, None) for c, s in seconds.items()))

    monkeypatch.setattr(peers, "benchmark", benchmark)
    monkeypatch.setattr(peers, "check", lambda case: None)  # without a GPU


def test_a_gpu_runs_bfloat16_eager_and_compiled(measured, tmp_path):
    table = measure_peers(["gpvit_l1", "swin_tiny_patch4_window7_224"], [(224, 224)], device="cuda")
    assert [row["kernels"] for row in table.rows] == ["eager", "eager", "compiled", "compiled"]
    assert {row["batch_size"] for row in table.rows} == {64}
    assert "cuda, bfloat16" in table.markdown()
    png, svg = draw_peers(table, tmp_path)
    with Image.open(png) as picture:
        assert picture.height > picture.width  # a row of panels for each kind of kernels
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
