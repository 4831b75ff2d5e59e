"""How much of the network's own speed `gpvit predict` reaches, and how far decoding scales with loader workers.

    python -m benchmarks.predict [--images 2000] [--repeats 5]

Each line is a ratio of two speeds that were measured in turns, since other work on the machine changes both.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from torch import nn

import gpvit
from gpvit import Predictor


class NoNetwork(nn.Module):
    """A classifier that takes no time, as a fast GPU would."""

    num_classes = 2

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(2))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the same logits for every image of a batch."""
        return self.bias.expand(len(images), 2)


def make_images(folder: Path, count: int) -> list[Path]:
    """Write JPEGs of 500 x 375 pixels with the detail of a photograph."""
    rng = np.random.default_rng(0)
    coarse = [Image.fromarray(rng.integers(0, 256, (47, 63, 3), np.uint8)).resize((500, 375)) for _ in range(16)]
    paths = [folder / f"{index}.jpg" for index in range(count)]
    for index, path in enumerate(paths):
        coarse[index % len(coarse)].save(path, quality=90)
    return paths


def speed(work: Callable[[], int]) -> float:
    """Return how many images a second some work gets through."""
    start = time.perf_counter()
    return work() / (time.perf_counter() - start)


def network_alone(model: nn.Module, count: int, batch_size: int = 16) -> int:
    """Pass tensors through a classifier."""
    images = torch.rand(batch_size, 3, 224, 224)
    with torch.inference_mode():
        for _ in range(count // batch_size):
            model(images)
    return count // batch_size * batch_size


def command(checkpoint: Path, folder: Path, workers: int | None) -> float:
    """Run `gpvit predict` on a folder, and return the images a second between its first line and its last."""
    options = [] if workers is None else ["--workers", str(workers)]
    arguments = [sys.executable, "-m", "gpvit", "predict", str(checkpoint), str(folder), "--json", "--device", "cpu"]
    with subprocess.Popen([*arguments, *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        times = [time.perf_counter() for line in process.stdout if json.loads(line)]
    skipped = len(times) // 10  # while workers start
    return (len(times) - skipped - 1) / (times[-1] - times[skipped])


def main() -> None:
    """Print the ratios."""
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as the command line does
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 1, 2])
    options = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "images")
        folder.mkdir()
        paths = make_images(folder, options.images)
        model, checkpoint = gpvit.create_model("gpvit_nano").eval(), Path(name, "nano.safetensors")
        gpvit.save(model, checkpoint)
        network_alone(model, 64)
        print(f"{options.images} JPEGs of 500 x 375; {torch.get_num_threads()} threads, {options.repeats} repeats")
        for workers in [None, *options.workers]:
            pairs = []
            for _ in range(options.repeats):
                alone = speed(lambda: network_alone(model, options.images // 2))
                pairs.append((command(checkpoint, folder, workers), alone))
            told = "by default" if workers is None else f"{workers} workers"
            ratio = median(predicted / alone for predicted, alone in pairs)
            images = median(predicted for predicted, _ in pairs)
            print(f"gpvit predict, {told}: {images:.1f} images/s, {ratio:.2f} of the network alone", flush=True)
        predictor = Predictor(NoNetwork())
        speeds = {
            workers: [
                speed(lambda: sum(1 for _ in predictor.stream(paths, workers, keep_pixels=False)))  # noqa: B023
                for _ in range(options.repeats)
            ]
            for workers in options.workers
        }
        for workers, measured in speeds.items():
            print(f"without a network, {workers} workers: {median(measured):.1f} images/s")


if __name__ == "__main__":
    main()
