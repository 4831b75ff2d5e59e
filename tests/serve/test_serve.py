"""The service on the loopback address, beside the offline `Predictor`."""

import base64
import io
import itertools
import signal
import struct
import threading
import time
import zlib

import numpy as np
import pytest
from faster_coco_eval import mask as codec
from PIL import Image
from serve.service import image_bytes, multipart, serving, write_model

import gpvit
from gpvit import Predictor
from gpvit.cli import main
from gpvit.inference.groups import draw_groups


@pytest.fixture(scope="module")
def models(tmp_path_factory, exported):
    classes = write_model("gpvit_nano", tmp_path_factory.mktemp("models") / "classes")
    return {"classes": classes, **{task: str(exported[task]) for task in ("segmentation", "detection")}}


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
    assert said["model"] == "classes"
    for result, expected in zip(
        said["results"], Predictor(models["classes"], "cpu")([*map(opened, sent)]), strict=True
    ):
        assert [row["class_name"] for row in result["top"]] == [row.class_name for row in expected.top(2)]
        assert result["top"][0]["probability"] == pytest.approx(expected.top(1)[0].probability, abs=1e-6)


def test_label_maps_are_those_of_the_predictor(service, models):
    sent = image_bytes()
    expected = Predictor(models["segmentation"])(opened(sent)).labels
    address = "/v1/predict?model=segmentation.onnx"
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
    expected = draw_groups(gpvit.load(models["classes"]).eval(), opened(sent))
    for block, drawn in zip(result["blocks"], expected.blocks, strict=True):
        assert block["assignment"] == drawn.assignment.tolist()
        strength = np.frombuffer(base64.b64decode(block["strength"]), np.uint8).reshape(block["shape"])
        largest = np.array(block["largest"])[:, None, None]
        np.testing.assert_allclose(strength / 255 * largest, drawn.strength, atol=0.003 * largest.max())
    status, _, said = service.call("/v1/groups?model=segmentation.onnx", sent)
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
        ("/v1/predict?model=../etc/passwd", image_bytes(), {}, 404, "there are classes, segmentation.onnx"),
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
    assert (first["name"], first["task"], first["groups"]) == ("classes", "classification", True)
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


def test_a_full_queue_and_a_clean_stop(service):
    """The last test with this service; drawings of groups take a second or so."""
    answers = []

    def ask():
        answers.append(service.call("/v1/groups", image_bytes(), {"Accept": "image/png"})[0])

    threads = [threading.Thread(target=ask) for _ in range(4)]
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
    assert set(answers) == {200, 503}  # those in progress are answered; what the queue has no room for is told at once
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
