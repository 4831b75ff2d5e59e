"""The service on the loopback address, beside the offline `Predictor`."""

import base64
import inspect
import io
import itertools
import json
import os
import shlex
import shutil
import signal
import struct
import subprocess
import threading
import time
import urllib.request
import zlib
from pathlib import Path

import numpy as np
import pytest
from faster_coco_eval import mask as codec
from PIL import Image
from serve.service import image_bytes, multipart, serving, write_model
from test_readme import blocks

import gpvit
from gpvit import Predictor
from gpvit.cli import main
from gpvit.cli.serve import serve
from gpvit.inference.groups import draw_groups


@pytest.fixture(scope="module")
def models(tmp_path_factory, exported):
    folder = tmp_path_factory.mktemp("models")
    street = shutil.copy(exported["segmentation"], folder / "street.onnx")
    classes = write_model("gpvit_nano", folder / "fruit")
    return {"classification": classes, "segmentation": str(street), "detection": str(exported["detection"])}


@pytest.fixture(scope="module")
def service(models, tmp_path_factory):
    limits = ["--max-bytes", "100000", "--max-pixels", "10000", "--max-parts", "3", "--queue", "1"]
    with serving(tmp_path_factory.mktemp("logs"), *models.values(), *limits, key="sésame") as running:
        yield running


def opened(data):
    return Image.open(io.BytesIO(data))


def test_classes_are_those_of_the_predictor(service, models):
    sent = [image_bytes(seed, (40 + seed, 30)) for seed in range(3)]
    status, _, said = service.call("/v1/predict?top=2", *multipart(*sent))
    assert status == 200
    assert said["model"] == "fruit"
    for result, expected in zip(
        said["results"], Predictor(models["classification"], "cpu")([*map(opened, sent)]), strict=True
    ):
        assert [row["class_name"] for row in result["top"]] == [row.class_name for row in expected.top(2)]
        assert result["top"][0]["probability"] == pytest.approx(expected.top(1)[0].probability, abs=1e-6)


def test_label_maps_are_those_of_the_predictor(service, models):
    sent = image_bytes()
    expected = Predictor(models["segmentation"])(opened(sent)).labels
    address = "/v1/predict?model=street.onnx"
    status, headers, png = service.call(address, sent, {"Accept": "image/png"})
    assert (status, headers["Content-Type"]) == (200, "image/png")
    np.testing.assert_array_equal(np.asarray(opened(png)), expected)
    (result,) = service.call(address, sent)[2]["results"]
    for area in result["areas"]:
        np.testing.assert_array_equal(codec.decode(area["mask"]), expected == area["class_index"])


def test_objects_are_those_of_the_predictor(service, models):
    sent = image_bytes()
    (result,) = service.call("/v1/predict?model=detection.onnx&score=0.1", sent)[2]["results"]
    expected = Predictor(models["detection"])(opened(sent)).filtered(0.1)
    assert [found["label"] for found in result["objects"]] == expected.labels.tolist()
    np.testing.assert_allclose([found["box"] for found in result["objects"]], expected.boxes, atol=1e-3)
    masks = np.stack([codec.decode(found["mask"]) for found in result["objects"]]).astype(bool)
    np.testing.assert_array_equal(masks, expected.masks)


def test_groups_are_those_that_are_drawn(service, models):
    sent = image_bytes()
    (result,) = service.call("/v1/groups", sent)[2]["results"]
    expected = draw_groups(gpvit.load(models["classification"]).eval(), opened(sent))
    for block, drawn in zip(result["blocks"], expected.blocks, strict=True):
        assert block["assignment"] == drawn.assignment.tolist()
        strength = np.frombuffer(base64.b64decode(block["strength"]), np.uint8).reshape(block["shape"])
        largest = np.array(block["largest"])[:, None, None]
        np.testing.assert_allclose(strength / 255 * largest, drawn.strength, atol=0.003 * largest.max())
    status, _, said = service.call("/v1/groups?model=street.onnx", sent)
    assert (status, "exported with --groups" in said["error"]["message"]) == (422, True)


def bomb(width, height):
    """A PNG of a few bytes that claims to be large."""
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0),
        b"IDAT": zlib.compress(bytes(99)),
        b"IEND": b"",
    }
    parts = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks.items()]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "words"),
    [
        ("/v1/predict", b"plain text", {}, 415, "send one of JPEG, PNG"),
        ("/v1/predict", b"%!PS-Adobe-3.0 EPSF-3.0\n", {}, 415, "no image of a known format"),
        ("/v1/predict", b"", {}, 400, "empty"),
        ("/v1/predict", b"{}", {"Content-Type": "application/json"}, 415, "Content-Type application/json"),
        ("/v1/predict", b"--x", {"Content-Type": "multipart/form-data"}, 400, "boundary"),
        ("/v1/predict", image_bytes()[:400], {}, 422, "damaged"),
        ("/v1/predict", bomb(60_000, 60_000), {}, 413, "more than 10000 pixels"),
        ("/v1/predict", bomb(100, 101), {}, 413, "more than 10000 pixels"),
        ("/v1/predict", image_bytes(size=(102, 2)), {}, 422, "longer than 50 times"),
        ("/v1/predict", bytes(100_001), {}, 413, "at most 100000 bytes"),
        ("/v1/predict", *multipart(*[image_bytes()] * 4), 413, "Too many files"),
        ("/v1/predict", *multipart(), 400, "empty"),
        ("/v1/predict?model=../etc/passwd", image_bytes(), {}, 404, "there are fruit, street.onnx"),
        ("/v1/predict?top=0", image_bytes(), {}, 422, "from 1 to 1000"),
        ("/v1/predict?score=nan", image_bytes(), {}, 422, "from 0 to 1"),
        ("/v1/predict?tpo=1", image_bytes(), {}, 422, "unknown parameter 'tpo'"),
        ("/v1/predict", image_bytes(), {"Accept": "text/html"}, 406, "image/png"),
        ("/v1/predict", None, {}, 405, "Method Not Allowed"),
        ("/../../etc/passwd", None, {}, 404, "Not Found"),
    ],
    ids=itertools.count(),
)
def test_what_cannot_be_answered_says_why(service, path, body, headers, status, words):
    got, _, said = service.call(path, body, headers)
    assert (got, said["error"]["status"]) == (status, status)
    assert words in said["error"]["message"]


def test_one_bad_image_of_a_batch_costs_its_own_place_alone(service):
    _, _, said = service.call("/v1/predict", *multipart(image_bytes(1), b"text", image_bytes(2)))
    assert ["top" in result for result in said["results"]] == [True, False, True]
    assert said["results"][1]["error"]["status"] == 415


def test_what_it_tells_of_itself(service):
    assert service.call("/healthz")[0] == service.call("/readyz")[0] == 200
    (first, *_) = service.call("/v1/models")[2]["models"]
    assert (first["name"], first["task"], first["groups"]) == ("fruit", "classification", True)
    _, headers, page = service.call("/")
    assert b'src="page.js"' in page
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    identity = service.call("/v1/predict?top=1", *multipart(image_bytes()))[1]["X-Request-ID"]
    assert b'gpvit_requests_total{route="/v1/predict",status="200"}' in service.call("/metrics")[2]
    log = service.log.read_text()
    assert f"{identity} /v1/predict" in log
    assert "secret-name" not in log
    assert "passwd" not in log


def test_without_the_key_nothing_is_answered(service):
    for key in ("wrong", ""):
        status, headers, _ = service.call("/v1/predict", image_bytes(), {"Authorization": f"Bearer {key}"})
        assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
        for path, expected in (("/metrics", 401), ("/v1/models", 401), ("/healthz", 200), ("/", 200)):
            assert service.call(path, headers={"Authorization": key})[0] == expected


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_page_on_serving_runs_as_shown(service, models, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("photo.jpg").write_bytes(image_bytes(format="JPEG"))
    Path("other.png").write_bytes(image_bytes())
    Path(".curlrc").write_text(f'silent\nfail-with-body\nheader = "Authorization: Bearer {service.key}"\n')
    page = (
        (Path(__file__).parents[2] / "docs/serve.md")
        .read_text(encoding="utf-8")
        .replace("http://127.0.0.1:8000", service.url)
    )
    answers = []
    for command in "".join(blocks("bash", page)).splitlines():
        done = subprocess.run(shlex.split(command), env={**os.environ, "HOME": str(tmp_path)}, capture_output=True)
        assert done.returncode == 0, done.stdout
        answers.append(done.stdout)
    assert len(answers) == 7
    assert [len(json.loads(answer)["results"]) for answer in answers[:3]] == [1, 2, 1]
    opener = urllib.request.build_opener()
    opener.addheaders = [("Authorization", f"Bearer {service.key}".encode().decode("latin-1"))]
    monkeypatch.setattr(urllib.request, "urlopen", opener.open)
    (code,) = blocks("python", page)
    exec(compile(code, "serve.md", "exec"), {})
    assert "class_name" in capsys.readouterr().out
    labels = Predictor(models["segmentation"])("photo.jpg").labels
    np.testing.assert_array_equal(np.asarray(Image.open("labels.png")), labels)
    assert min(Image.open("groups.png").size) > 500
    for options in ("--max-bytes", "--max-pixels", "--max-parts", "--time-limit", "--queue", "--wait-ms", "--workers"):
        assert options in page
    defaults = inspect.signature(serve).parameters
    assert f"`--queue` ({defaults['queue'].default} images)" in page
    assert f"`--max-bytes` ({defaults['max_bytes'].default // 2**20} MiB)" in page


def test_a_full_queue_and_a_clean_stop(models, tmp_path):
    answers = []

    def ask():
        answers.append(service.call("/v1/groups", image_bytes(), {"Accept": "image/png"})[0])

    with serving(tmp_path, models["classification"], "--queue", "1") as service:
        threads = [threading.Thread(target=ask) for _ in range(4)]  # drawings of groups take a second or so
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        assert service.call("/readyz")[0] == 503
        status, headers, said = service.call("/v1/predict", image_bytes())
        assert (status, headers["Retry-After"], said["error"]["message"]) == (503, "1", "the service is stopping")
        for thread in threads:
            thread.join()
        assert set(answers) == {200, 503}  # those in progress are answered; what has no room is told at once
        assert service.process.wait(20) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["gpvit_nona"], "gpvit_nona", marks=pytest.mark.slow),  # a worker starts: 4 s
        (["a/x", "b/x"], "none twice"),
        ([], "name at least one"),
        (["gpvit_nano", "--port", "70000"], "0..65535"),
        (["gpvit_nano", "--max-pixels", "0"], "pixels is 0"),
    ],
)
def test_a_service_that_cannot_start_says_why(arguments, words, capsys):
    assert main(["serve", *arguments]) == 1
    assert words in capsys.readouterr().err
