"""A service in processes of its own, on the loopback address, and what its clients send."""

import io
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import gpvit

CLASSES = ["apple", "bread", "cheese"]


def write_model(name, path):
    """Write a tiny model with random weights, and return its path as a text."""
    sizes = {"img_size": 32} if name == "gpvit_nano" else {"backbone_kwargs": {"img_size": 64}}
    gpvit.save(gpvit.create_model(name, num_classes=3, **sizes), path, class_names=CLASSES)
    return str(path)


def image_bytes(seed=0, size=(80, 60), format="PNG"):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format)
    return buffer.getvalue()


def multipart(*parts):
    """Return the body of a form with these files, and the header that says so."""
    head = 'Content-Disposition: form-data; name="image"; filename="secret-name.png"\r\nContent-Type: image/png'
    body = b"".join(b"--edge\r\n%s\r\n\r\n%s\r\n" % (head.encode(), part) for part in parts) + b"--edge--\r\n"
    return body, {"Content-Type": "multipart/form-data; boundary=edge"}


@dataclass
class Service:
    process: subprocess.Popen
    log: Path
    port: int
    key: str

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def call(self, path, body=None, headers=(), timeout=60):
        """Return the status, the headers and the content, decoded where it is JSON."""
        usual = {"Authorization": f"Bearer {self.key}".encode().decode("latin-1")}
        usual |= {} if body is None else {"Content-Type": "application/octet-stream"}
        request = urllib.request.Request(self.url + path, body, usual | dict(headers))
        try:
            response = urllib.request.urlopen(request, timeout=timeout)
        except urllib.error.HTTPError as error:
            response = error
        with response:
            content = response.read()
        is_json = response.headers["Content-Type"] == "application/json"
        return response.status, response.headers, json.loads(content) if is_json else content

    def workers(self):
        """Ids of the processes that hold the models; Linux tells."""
        pid = self.process.pid
        children = [
            line for task in Path(f"/proc/{pid}/task").iterdir() for line in (task / "children").read_text().split()
        ]
        found = []
        for child in children:
            with suppress(FileNotFoundError):  # it has just ended
                found += [int(child)] if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes() else []
        return found


@contextmanager
def serving(folder, *arguments, key=""):
    log = folder / f"log-{time.monotonic_ns()}"
    command = [sys.executable, "-m", "gpvit", "serve", *arguments, "--port", "0"]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stderr=file, env={**os.environ, "GPVIT_API_KEY": key})
    try:
        deadline = time.monotonic() + 60
        while not (found := re.search(r" at http://127\.0\.0\.1:(\d+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield Service(process, log, int(found[1]), key)
    finally:
        process.kill()
        process.wait()
