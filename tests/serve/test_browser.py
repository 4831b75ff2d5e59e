"""The page at `/` in Chromium, beside the offline `Predictor`."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image
from serve.service import image_bytes, serving, write_model

from gpvit import Predictor

pytestmark = pytest.mark.slow
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PIXELS = """() => {
    const {width, height} = document.getElementById("canvas");
    return [...context.getImageData(0, 0, width, height).data];
}"""


@pytest.fixture
def page():
    """A page that lets no error of its scripts pass."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is found")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        shown, errors = browser.new_page(), []
        shown.on("pageerror", lambda error: errors.append(str(error)))
        yield shown
        browser.close()
        assert errors == []


def test_the_page_shows_what_the_predictor_finds(page, tmp_path):
    models = [
        write_model(name, tmp_path / task)
        for name, task in [("gpvit_nano", "classes"), ("segformer_gpvit_nano", "masks")]
    ]
    photo = {"name": "photo.png", "mimeType": "image/png", "buffer": image_bytes(size=(96, 64))}
    image = Image.open(io.BytesIO(photo["buffer"]))
    with serving(tmp_path, *models) as service:
        page.goto(service.url)
        page.set_input_files("#file", photo)
        best = Predictor(models[0], "cpu")(image).top(1)[0]
        page.get_by_text(f"{best.probability:.1%}").wait_for()
        assert page.locator("li").first.inner_text().split() == [best.class_name, f"{best.probability:.1%}"]

        page.select_option("#model", "masks")
        page.get_by_text("masks, ").wait_for()
        page.fill("#shade", "1")
        result = Predictor(models[1], "cpu")(image)
        shown = np.array(page.evaluate(PIXELS), np.uint8).reshape(7 * 64, 7 * 96, 4)[3::7, 3::7, :3]  # enlarged
        assert (shown == np.array(result.colors)[result.labels]).all(axis=2).mean() > 0.999

        page.select_option("#verb", "groups")
        page.locator("#blocks").wait_for()
        page.hover("#canvas")
        assert page.locator("#which").inner_text().isdecimal()

        page.set_input_files("#file", photo | {"buffer": b"no image"})
        page.get_by_text("no image of a known format").wait_for()
        assert not page.is_visible("#canvas")
