"""The page without a server, in a real browser: its answers are torch's, and bad files get a message."""

import base64
import hashlib
import http.server
import re
import shutil
import subprocess
import tarfile
import threading
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import expect, sync_playwright
from skimage import data

import gpvit
from gpvit.cli import main
from gpvit.errors import UserError
from gpvit.export import web
from gpvit.models.variants import VARIANTS

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed here"),
    pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed here"),
]
AXE = "axe-core@4.14.1"
AXE_SHA512 = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
SETTLED = re.compile(r"answered in|\.$")


@pytest.fixture(scope="module")
def models(classifier):
    torch.manual_seed(0)
    four = {"blocks": VARIANTS["gpvit_nano"]["blocks"][:4], "out_indices": (0, 1, 2, 3), "feature_norms": (0, 1, 2)}
    segmenter = gpvit.create_model(
        "segformer_gpvit_nano", num_classes=4, backbone_kwargs={"img_size": 64, **four}
    ).eval()
    for module in segmenter.modules():  # so that random weights give more than one class
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.01, 0.1)
    return {"classifier": classifier, "segmenter": segmenter}


@pytest.fixture(scope="module")
def folder(exported, models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    try:
        web.write_page(exported[0], folder / "classifier")
    except UserError as error:
        if "npm could not fetch" not in str(error):
            raise
        pytest.skip(str(error))  # where nothing can be downloaded
    web.write_page(models["segmenter"], folder / "segmenter")
    Image.fromarray(data.astronaut()).crop((60, 0, 467, 333)).save(folder / "photo.png")
    Image.fromarray(data.coffee()).crop((0, 0, 401, 299)).convert("LA").save(folder / "gray.png")
    return folder


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, folder, request):
    """A page of the kind that a test names, opened from the disk, ready for an image."""
    page = browser.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto((folder / getattr(request, "param", "classifier") / "index.html").as_uri())
    page.wait_for_selector("body[data-ready]")
    yield page
    page.close()
    assert not errors


def answer(page, file):
    page.set_input_files("#file", file)
    expect(page.locator("#status")).to_have_text(SETTLED, timeout=60_000)
    return page.inner_text("#status")


@pytest.mark.parametrize("name", ["photo.png", "gray.png"])
def test_probabilities_are_torchs(name, page, folder, models):
    assert "answered in" in answer(page, folder / name)
    expected = gpvit.Predictor(models["classifier"])(folder / name)
    given = page.evaluate("() => [...shown.probabilities]")
    np.testing.assert_allclose(given, expected.probabilities.numpy(), atol=1e-5)
    assert page.locator("#classes li span:first-child").first.inner_text() == expected.top(1)[0].class_name


@pytest.mark.parametrize("page", ["segmenter"], indirect=True)
def test_label_maps_are_torchs(page, folder, models):
    assert "answered in" in answer(page, folder / "photo.png")
    expected = gpvit.Predictor(models["segmenter"])(folder / "photo.png").labels
    given = np.array(page.evaluate("() => [...shown.labels]"), np.uint8).reshape(expected.shape)
    assert len(np.unique(expected)) > 1
    assert (given == expected).mean() >= 0.999
    with page.expect_download() as download:
        page.click("#mask")
    assert download.value.suggested_filename == "photo_labels.png"
    np.testing.assert_array_equal(np.array(Image.open(download.value.path()).convert("RGB"))[..., 0], given)


def test_groups_are_explored_by_mouse_and_keyboard(page, folder, models):
    answer(page, folder / "photo.png")
    page.click("summary")
    page.locator("#place", has_text="Place ").wait_for()
    place = page.inner_text("#place")
    page.focus("#canvas")
    page.keyboard.press("ArrowRight")
    moved = page.inner_text("#place")
    across, then = (int(re.match(r"Place (\d+) of", text)[1]) for text in (place, moved))
    assert then == across + 1
    page.hover("#canvas", position={"x": 90, "y": 30})
    assert page.inner_text("#place") != moved
    page.locator("#answering button").nth(1).click()
    chosen = page.locator("#answering button span").nth(2).inner_text()
    assert page.input_value("#group") == chosen.removeprefix("group ")
    shares = page.evaluate(
        "() => [...Array(shown.groups[0].groups).keys()].map((g) => mapOf('ungrouping', shown.groups[0], g)[0])"
    )
    assert sum(shares) == pytest.approx(1, abs=1e-4)


def test_it_works_with_the_network_cut_off(browser, folder):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder / "classifier")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page = browser.new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"http://127.0.0.1:{server.server_port}/")
    page.wait_for_selector("body[data-ready]")
    page.context.set_offline(True)
    server.shutdown()
    assert "answered in" in answer(page, folder / "photo.png")
    assert all(url.startswith((f"http://127.0.0.1:{server.server_port}/", "data:")) for url in asked)
    page.close()


def test_what_is_no_image_is_told_and_the_page_goes_on(page, folder, tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "cut.png").write_bytes((folder / "photo.png").read_bytes()[:999])
    bomb = bytearray((folder / "photo.png").read_bytes())
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    (tmp_path / "bomb.png").write_bytes(bomb)
    for name, message in {
        "notes.txt": "notes.txt is no image that this browser can read, or is damaged.",
        "cut.png": "cut.png is no image that this browser can read, or is damaged.",
        "bomb.png": "bomb.png has 3600 million pixels; at most 64 million can be shown here.",
    }.items():
        assert answer(page, tmp_path / name) == message
    assert "answered in" in answer(page, folder / "photo.png")


def test_until_an_answer_comes_the_one_before_stays_whole(page, folder):
    answer(page, folder / "photo.png")
    page.evaluate("() => { worker.postMessage = () => {}; }")  # a model that takes for ever
    page.set_input_files("#file", folder / "gray.png")
    expect(page.locator("#status")).to_have_text("Looking at gray.png…")
    with page.expect_download() as download:
        page.click("#json")
    assert download.value.suggested_filename == "photo.json"


@pytest.mark.slow
@pytest.mark.parametrize("page", ["segmenter"], indirect=True)
def test_a_photograph_of_12_megapixels(page, folder, models, tmp_path):
    Image.open(folder / "photo.png").resize((4000, 3000)).save(tmp_path / "large.jpg", quality=95)
    assert "answered in" in answer(page, tmp_path / "large.jpg")
    expected = gpvit.Predictor(models["segmenter"])(tmp_path / "large.jpg").labels
    given = page.evaluate("() => [...shown.labels.filter((_, i) => i % 997 === 0)]")
    assert (np.array(given) == expected.ravel()[::997]).mean() > 0.99  # decoders of JPEG differ


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["classifier", "segmenter"])
def test_it_is_accessible(kind, scheme, browser, folder, tmp_path):
    subprocess.run(["npm", "pack", AXE, "--silent", "--pack-destination", tmp_path], check=True, capture_output=True)
    archive = next(tmp_path.glob("*.tgz"))
    assert base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode() == AXE_SHA512
    with tarfile.open(archive) as file:
        axe = file.extractfile("package/axe.min.js").read().decode()
    page = browser.new_page(color_scheme=scheme)
    page.goto((folder / kind / "index.html").as_uri())
    page.wait_for_selector("body[data-ready]")
    answer(page, folder / "photo.png")
    page.click("summary")
    page.evaluate(axe)
    found = page.evaluate("() => axe.run().then((result) => result.violations)")
    assert [(each["id"], each["nodes"][0]["html"]) for each in found] == []
    page.close()


def test_what_cannot_be_a_page_is_refused(exported, folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious.txt").touch()
    with pytest.raises(UserError, match="mine holds other files than a page"):
        web.write_page("gpvit_nano", tmp_path / "mine")
    assert main(["export", "gpvit_nano"]) == 1
    assert "name one file to write, as model.onnx, or a page's folder: --web FOLDER" in capsys.readouterr().err
    assert main(["export", "gpvit_nano", "--web", str(tmp_path / "page"), "--uint8"]) == 1
    assert "leave out --uint8" in capsys.readouterr().err
    detector = gpvit.create_model("retinanet_gpvit_nano", num_classes=2, channels=16)
    with pytest.raises(UserError, match="detectors are served by `gpvit serve`"):
        web.write_page(detector, tmp_path / "page")
    monkeypatch.setenv("GPVIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(web.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"which npm fetches: install Node\.js, or put its archive at .*cache"):
        web.write_page(exported[0], tmp_path / "page")
    (tmp_path / "cache" / "web").mkdir(parents=True)
    (tmp_path / "cache" / "web" / f"{web.RUNTIME}.tgz").write_bytes(b"other")
    with pytest.raises(UserError, match="has another SHA-512"):
        web.write_page(exported[0], tmp_path / "page")
    assert not (tmp_path / "page").exists()
    shutil.copytree(folder / "classifier", tmp_path / "old")
    monkeypatch.undo()
    (tmp_path / "old" / "parts" / "model_9.js").touch()
    (tmp_path / "link").symlink_to(tmp_path / "old")
    web.write_page(exported[0], tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "old" / "index.html").is_file()
    assert not (tmp_path / "old" / "parts" / "model_9.js").exists()
