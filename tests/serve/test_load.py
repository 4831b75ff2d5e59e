"""The service under hostile requests, under load, and when its worker dies; two variables make these shorter."""

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from serve.service import image_bytes, multipart, serving, write_model
from serve.test_serve import bomb

from gpvit import Predictor
from gpvit.runtime.images import decode_image

pytestmark = pytest.mark.slow
HOSTILE = int(os.environ.get("GPVIT_HOSTILE", 10_000))
SECONDS = float(os.environ.get("GPVIT_LOAD_SECONDS", 120))
IMAGES = [image_bytes(seed, (40 + 5 * seed, 40), ("PNG", "JPEG")[seed % 2]) for seed in range(8)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model("gpvit_nano", tmp_path_factory.mktemp("models") / "classes")


@pytest.fixture(scope="module")
def expected(model):
    return [result.probabilities.numpy() for result in Predictor(model, "cpu")([decode_image(i, "") for i in IMAGES])]


@pytest.fixture(scope="module")
def service(model, tmp_path_factory):
    with serving(tmp_path_factory.mktemp("logs"), model, "--max-bytes", "1000000") as running:
        yield running


def is_right(said, expected):
    rows = {row["class_index"]: row["probability"] for row in said["results"][0]["top"]}
    return np.allclose([rows[index] for index in range(len(rows))], expected, atol=1e-6)


def raw(path="/v1/predict", method="POST", headers=(), body=b"", length=None):
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: x",
        f"Content-Length: {len(body) if length is None else length}",
        *headers,
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def hostile(draw):
    """Draw a request that should not be answered, as the bytes that are sent, and whether no more of it will come."""
    image, (form, kind) = draw.choice(IMAGES), multipart(*draw.sample(IMAGES, 2))
    kind = f"Content-Type: {kind['Content-Type']}"
    damaged = bytearray(image)
    for _ in range(draw.randint(1, 40)):
        damaged[draw.randrange(len(damaged))] = draw.randrange(256)
    cut = draw.randrange(1, 200)
    tricks = [
        "/../../etc/passwd",
        "//v1//predict",
        "/v1/predict/..%2f..",
        "/%00",
        "/v1/predict?model=" + "a" * 5000,
        "*",
        "/\xff",
    ]
    if draw.random() < 0.1:
        unfinished = [raw(body=image[:cut], length=len(image)), raw(body=form)[:cut], draw.randbytes(cut)]
        return draw.choice(unfinished), True
    kinds = [
        lambda: raw(body=image[:cut]),  # truncated
        lambda: raw(body=bytes(damaged)),
        lambda: raw(body=draw.randbytes(draw.randrange(2000))),
        lambda: raw(body=bomb(draw.randrange(1, 2**31), draw.randrange(1, 2**31))),
        lambda: raw(body=bomb(draw.randrange(1, 7000), draw.randrange(1, 7000))),  # within the limit, without pixels
        lambda: raw(
            body=image, headers=[f"Content-Type: {draw.choice(['text/html', 'image', ';', 'multipart/form-data'])}"]
        ),
        lambda: raw(body=form[: -draw.randrange(1, len(form))], headers=[kind]),
        lambda: raw(body=form.replace(b"name=", b"title="), headers=[kind]),
        lambda: raw(body=form, headers=["Content-Type: multipart/form-data; boundary=" + "e" * draw.randrange(300)]),
        lambda: raw(body=b"x", length=10 ** draw.randrange(7, 30)),
        lambda: raw(headers=[f"X-Huge: {'h' * draw.randrange(200_000)}"]),
        lambda: raw(headers=[f"X-{n}: 1" for n in range(draw.randrange(3000))]),
        lambda: raw(path=draw.choice(tricks), method=draw.choice(["GET", "POST", "PUT"])),
        lambda: raw(
            path="/v1/predict?" + draw.choice(["top=x", "score=9", "score=inf", "top=1e9", "%", "model=\x7f"]),
            body=image,
        ),
        lambda: raw(method=draw.choice(["GET", "DELETE", "TRACE", "PRI", "A" * 500]), body=image),
        lambda: raw(headers=["Accept: text/html"], body=image),
        lambda: raw(headers=["Transfer-Encoding: chunked"], body=b"zz\r\n"),
        lambda: raw(headers=["Expect: 200-ok", "Authorization: " + "\xff" * 50]),
    ]
    return draw.choice(kinds)(), False


def test_hostile_requests_are_refused_and_good_ones_answered_in_between(service, expected):
    draw, statuses, before = random.Random(0), {}, service.workers()
    slow = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(100)]
    for number in range(HOSTILE):
        if number % 100 == 0:
            index = number // 100 % len(IMAGES)
            status, _, said = service.call("/v1/predict", IMAGES[index])
            assert status == 200
            assert is_right(said, expected[index])
            for each in slow[:10]:  # bodies that trickle
                each.close()
            slow = slow[10:] + [socket.create_connection(("127.0.0.1", service.port)) for _ in range(10)]
            for each in slow[-10:]:
                each.sendall(raw(body=b"\x89PNG", length=10_000))
        with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
            try:
                sent, ends = hostile(draw)
                connection.sendall(sent)
                if ends:
                    connection.shutdown(socket.SHUT_WR)
                answer = connection.recv(2000)
            except (ConnectionResetError, BrokenPipeError):  # closed before all was sent
                answer = b""
        status = int(answer.split()[1]) if answer.startswith(b"HTTP/1.1") else 0
        statuses[status] = statuses.get(status, 0) + 1
    print(f"\n{HOSTILE} hostile requests by status (0: closed without one): {dict(sorted(statuses.items()))}")
    assert 500 not in statuses
    assert service.workers() == before
    assert "Traceback" not in service.log.read_text()


def memory(service):
    """Resident MiB of the front and its worker."""
    pids = [service.process.pid, *service.workers()]
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids) / 256


def clients(service, count, seconds, expected):
    """Ask from so many clients at a time; return (status, whether the answer is right, seconds) of each request."""
    outcomes, until = [], time.monotonic() + seconds

    def ask(number):
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
        while time.monotonic() < until:
            number, start = (number + 1) % len(IMAGES), time.monotonic()
            connection.request("POST", "/v1/predict", IMAGES[number], {"Content-Type": "image/png"})
            response = connection.getresponse()
            said = json.loads(response.read())
            right = response.status == 200 and is_right(said, expected[number])
            outcomes.append((response.status, right, time.monotonic() - start))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    return outcomes, threads


def test_parallel_clients_get_the_offline_answers(service, expected):
    outcomes, threads = clients(service, 64, SECONDS, expected)
    time.sleep(SECONDS / 3)
    early = memory(service)
    time.sleep(SECONDS / 2)
    late = memory(service)
    for thread in threads:
        thread.join()
    p50, p99 = np.percentile([taken for _, _, taken in outcomes], [50, 99])
    print(f"\n64 clients, {SECONDS:g} s: {len(outcomes)} answers, p50 {p50:.3f} s, p99 {p99:.3f} s")
    print(f"memory {early:.0f} MiB, then {late:.0f} MiB")
    assert all(status == 200 and right for status, right, _ in outcomes)
    assert late < 1.05 * early + 10


def test_a_worker_that_is_killed_costs_its_own_requests_alone(service, expected):
    outcomes, threads = clients(service, 32, 25, expected)
    time.sleep(4)
    (worker,) = service.workers()
    os.kill(worker, signal.SIGKILL)
    for thread in threads:
        thread.join()
    lost = [status for status, right, _ in outcomes if not right]
    print(f"\n{len(outcomes)} answers, {len(lost)} lost with the worker")
    assert 0 < len(lost) <= 16  # a batch
    assert set(lost) == {503}
    (other,) = service.workers()
    assert other != worker
    os.kill(other, signal.SIGKILL)  # while nobody asks: nothing is lost
    time.sleep(2)
    assert service.call("/v1/predict", IMAGES[0])[0] == 200


def test_it_ends_though_a_new_worker_hangs_while_it_loads(model, tmp_path):
    with serving(tmp_path, model) as hanging:
        (old,) = hanging.workers()
        os.kill(old, signal.SIGKILL)
        asking = threading.Thread(target=hanging.call, args=("/v1/predict", IMAGES[0]))
        asking.start()
        while (new := hanging.workers()) in ([], [old]):
            time.sleep(0.01)
        os.kill(new[0], signal.SIGSTOP)
        hanging.process.send_signal(signal.SIGTERM)
        time.sleep(1)
        if hanging.process.poll() is None:  # the image still waits
            hanging.process.send_signal(signal.SIGTERM)
        assert hanging.process.wait(10) == 0
        asking.join()


def test_its_description_holds(service, tmp_path):
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{service.url}/openapi.json", "--max-examples", "50"]
    # No schema says which bytes are an image, so that bytes which it allows may be refused.
    options = ["--seed", "1", "--exclude-checks", "positive_data_acceptance"]
    done = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
