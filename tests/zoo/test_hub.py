"""Fetching from a real server on this machine, which serves a file made by the golden rule."""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import timm
import torch
from golden import official

import gpvit
from gpvit.errors import UserError
from gpvit.io import cache_folder
from gpvit.zoo.hub import identify, published_weights
from gpvit.zoo.official import convert_official

FILENAME = "gpvit_l1_in1k_300e.pth"


class Release:
    """What the server answers with, and what it was asked for."""

    def __init__(self, content: bytes):
        self.content = content
        self.declared_length: int | None = None
        self.requests: list[str] = []
        self.address = ""


@pytest.fixture
def release(official_l1) -> Iterator[Release]:
    release = Release(official_l1.read_bytes())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            release.requests.append(self.path)
            if self.path != f"/{FILENAME}":
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(release.declared_length or len(release.content)))
            self.end_headers()
            self.wfile.write(release.content)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    release.address = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield release
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def cache(tmp_path, monkeypatch, release) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("GPVIT_CACHE", str(folder))
    monkeypatch.setenv("GPVIT_WEIGHTS_URL", release.address)
    return folder


@pytest.fixture(scope="module")
def filled_cache(tmp_path_factory, official_l1) -> Path:
    """A cache into which the official file was put by hand, converted at the first use."""
    folder = tmp_path_factory.mktemp("filled")
    (folder / FILENAME).symlink_to(official_l1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPVIT_CACHE", str(folder))
        patch.setenv("GPVIT_WEIGHTS_URL", "http://127.0.0.1:9")  # nothing listens there
        published_weights("gpvit_l1", "in1k")
    return folder


@pytest.fixture
def offline(filled_cache, monkeypatch) -> None:
    monkeypatch.setenv("GPVIT_CACHE", str(filled_cache))
    monkeypatch.setenv("GPVIT_WEIGHTS_URL", "http://127.0.0.1:9")


def test_weights_are_fetched_converted_and_kept(cache, release):
    model = gpvit.create_model("gpvit_l1.in1k").eval()
    expected = official.outputs("cls_L1_rect")["logits"]
    with torch.no_grad():
        logits = model(official.image("rect")).numpy()
    assert abs(logits - expected).max() < 1e-5 * abs(expected).max()
    assert release.requests == [f"/{FILENAME}"]
    assert sorted(file.name for file in cache.iterdir()) == ["gpvit_l1.in1k.safetensors", f"{FILENAME}.sha256"]
    gpvit.load(cache / "gpvit_l1.in1k.safetensors")
    gpvit.create_model("gpvit_l1", weights="in1k")
    timm.create_model("gpvit_l1", pretrained=True)
    assert len(release.requests) == 1


def test_another_file_of_that_name_is_refused_from_then_on(cache, release):
    published_weights("gpvit_l1", "in1k")
    (cache / "gpvit_l1.in1k.safetensors").unlink()
    assert published_weights("gpvit_l1", "in1k").is_file()
    (cache / "gpvit_l1.in1k.safetensors").unlink()
    release.content = changed(release.content)
    with pytest.raises(UserError, match=rf"{FILENAME} is not the file that was used first.*delete that record"):
        published_weights("gpvit_l1", "in1k")
    assert [file.name for file in cache.iterdir()] == [f"{FILENAME}.sha256"]
    (cache / f"{FILENAME}.sha256").unlink()
    assert published_weights("gpvit_l1", "in1k").is_file()


def changed(content: bytes) -> bytes:
    """Change a weight of an official file."""
    checkpoint = torch.load(io.BytesIO(content), weights_only=True)
    checkpoint["state_dict"]["head.fc.bias"] += 1
    file = io.BytesIO()
    torch.save(checkpoint, file)
    return file.getvalue()


def test_many_may_fetch_at_once(cache, release):
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: published_weights("gpvit_l1", "in1k"), range(4)))
    assert set(paths) == {cache / "gpvit_l1.in1k.safetensors"}
    assert sorted(file.name for file in cache.iterdir()) == ["gpvit_l1.in1k.safetensors", f"{FILENAME}.sha256"]
    gpvit.load(paths[0])


@pytest.mark.parametrize("part", [0, 1000, 20_000_000])
def test_a_transfer_that_breaks_off_is_never_taken_for_whole(cache, release, part):
    release.declared_length = len(release.content)
    whole, release.content = release.content, release.content[:part]
    with pytest.raises(
        (ValueError, ConnectionError), match=rf"{FILENAME}.* (broke off|could not fetch)|could not fetch"
    ):
        gpvit.create_model("gpvit_l1.in1k")
    assert list(cache.iterdir()) == []
    release.content = whole
    assert published_weights("gpvit_l1", "in1k").is_file()


def test_wrong_content_is_refused(cache, release):
    release.content = b"<html>Please log in</html>"
    with pytest.raises(ValueError, match=f"{FILENAME} is damaged"):
        gpvit.create_model("gpvit_l1.in1k")
    assert list(cache.iterdir()) == []


def test_a_missing_file_and_an_absent_server_say_what_to_do(cache, release, monkeypatch):
    with pytest.raises(ConnectionError, match=r"gpvit_l2_in1k_300e\.pth: HTTP Error 404.* put the file at .*cache"):
        gpvit.create_model("gpvit_l2.in1k")
    monkeypatch.setenv("GPVIT_WEIGHTS_URL", "http://127.0.0.1:9")
    with pytest.raises(ConnectionError, match=r"could not fetch http://127\.0\.0\.1:9/gpvit_l1.* GPVIT_WEIGHTS_URL"):
        gpvit.create_model("gpvit_l1.in1k")
    assert list(cache.iterdir()) == []


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("GPVIT_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("GPVIT_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "gpvit"


@pytest.mark.usefixtures("offline")
class TestTimmPretrained:
    def test_plain(self):
        model = timm.create_model("gpvit_l1", pretrained=True).eval()
        expected = official.outputs("cls_L1_rect")["logits"]
        with torch.no_grad():
            logits = model(official.image("rect")).numpy()
        assert abs(logits - expected).max() < 1e-5 * abs(expected).max()

    def test_tag_head_channels_and_size(self):
        weights = official.state_dict("cls_L1")
        model = timm.create_model("gpvit_l1.in1k", pretrained=True, num_classes=10, in_chans=1, img_size=64)
        assert model(torch.randn(1, 1, 64, 64)).shape == (1, 10)
        first = weights["backbone.patch_embed.stem.0.weight"].sum(1, keepdim=True)
        torch.testing.assert_close(model.stem.first.conv.weight, first)
        assert torch.equal(model.norm.weight, weights["backbone.ln1.weight"])
        assert model.pos_embed.shape == (1, 8, 8, 216)
        assert model.head.weight.std() < 0.02

    def test_an_unknown_tag_is_refused_before_anything_is_fetched(self):
        with pytest.raises(ValueError, match="no weights 'in22k'"):
            timm.create_model("gpvit_l1.in22k", pretrained=True)

    def test_features_only(self):
        model = timm.create_model("gpvit_l1", pretrained=True, features_only=True, out_indices=(0, 3)).eval()
        image = official.image("rect")
        with torch.no_grad():
            features = model(image)
            whole = timm.create_model("gpvit_l1", pretrained=True).eval()
            expected = whole.forward_intermediates(image, indices=(0, 3), intermediates_only=True)
        for feature, reference in zip(features, expected, strict=True):
            torch.testing.assert_close(feature, reference)


@pytest.mark.parametrize(
    ("system", "prefix"),
    [
        ("cls", ""),
        ("upernet", "upernet_"),
        ("segformer", "segformer_"),
        ("maskrcnn", "mask_rcnn_"),
        ("retinanet", "retinanet_"),
    ],
)
@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_every_official_model_is_found_by_its_shapes(system, prefix, level):
    weights = convert_official(official.meta_state_dict(f"{system}_L{level}"))
    assert identify(weights, "file") == f"{prefix}gpvit_l{level}"


def test_an_unknown_width_is_told_with_those_there_are():
    weights = convert_official(official.meta_state_dict("cls_L2"))
    weights = {name: tensor for name, tensor in weights.items() if not name.startswith("stem.extra")}
    with pytest.raises(ValueError, match=r"348 channels and 0 extra convolutions(.|\n)*gpvit_l2: 348 channels and 1"):
        identify(weights, "file")
