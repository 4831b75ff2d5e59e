"""How much of the speed that `gpvit benchmark` measures `gpvit serve` hands on, and how long its clients wait.

    python -m benchmarks.serve [MODEL] [--clients 64] [--seconds 20] [--repeats 3]

Both take turns, since other work on the machine changes both. The clients run on the same machine, on its cores.
"""

import argparse
import http.client
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.predict import make_images
from gpvit.profile.benchmark import benchmark
from gpvit.profile.workload import Case


@contextmanager
def serving(model: str) -> Iterator[int]:
    """Start a service on the CPU; give its port."""
    command = [sys.executable, "-m", "gpvit", "serve", model, "--port", "0", "--device", "cpu"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            port = next(int(found[1]) for line in process.stderr if (found := re.search(r" at http.*:(\d+)$", line)))
            threading.Thread(target=process.stderr.read, daemon=True).start()  # or the pipe would fill up
            yield port
        finally:
            process.terminate()


def ask(port: int, images: list[bytes], until: float, waits: list[float]) -> None:
    """Send one image after another over one connection, and note how long each answer takes."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    while (start := time.perf_counter()) < until:
        connection.request("POST", "/v1/predict", images[len(waits) % len(images)], {"Content-Type": "image/jpeg"})
        response = connection.getresponse()
        if response.status != 200:
            raise RuntimeError(f"{response.status}: {response.read()[:200]!r}")
        response.read()
        waits.append(time.perf_counter() - start)


def load(port: int, images: list[bytes], clients: int, seconds: float) -> tuple[float, list[float]]:
    """Ask from so many clients at a time; the answers a second, and how long each took."""
    waits, start = list[float](), time.perf_counter()
    arguments = (port, images, start + seconds, waits)
    threads = [threading.Thread(target=ask, args=arguments) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(waits) / (time.perf_counter() - start), waits


def main() -> None:
    """Print the ratio and the waits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="gpvit_l1")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serving(options.model) as port:
        images = [path.read_bytes() for path in make_images(Path(folder), 16)]
        load(port, images, options.clients, 2)
        ratios, waits = [], list[float]()
        for _ in range(options.repeats):
            (row,) = benchmark([Case(options.model, batch_size=16, prepared=True)], rounds=5, memory=False).rows
            served, waited = load(port, images, options.clients, options.seconds)
            ratios.append(served / row["images_per_second"])
            waits += waited
            print(f"{served:.1f} images/s served, {row['images_per_second']:.1f} by gpvit benchmark")
    p50, p99 = np.percentile(waits, [50, 99])
    print(f"{np.median(ratios):.0%}; {options.clients} clients wait {p50:.2f} s (p50), {p99:.2f} s (p99)")


if __name__ == "__main__":
    main()
