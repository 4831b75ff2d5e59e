"""Seconds from a command to its end, in fresh processes: help, one image in torch, one image without it.

`python -m benchmarks.cold_start` exports a GPViT-nano with random weights first.
"""

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median

import gpvit
from gpvit.data.synthetic.photographs import load_photograph
from gpvit.devices import describe_machine
from gpvit.export import export
from gpvit.profile.measure import duration

STARTS = 5


def main() -> None:
    """Print the median and the range of some starts of each command, after one that fills the caches."""
    with tempfile.TemporaryDirectory() as folder:
        weights, graph, photo = (str(Path(folder, name)) for name in ("nano.safetensors", "nano.onnx", "photo.png"))
        gpvit.save(gpvit.create_model("gpvit_nano"), weights)
        export(weights, graph)
        load_photograph("cat").save(photo)
        commands = {
            "gpvit --help": ["gpvit", "--help"],
            "gpvit predict nano.safetensors": ["gpvit", "predict", weights, photo, "--device", "cpu"],
            "gpvit predict nano.onnx": ["gpvit", "predict", graph, photo],
            "python -m gpvit.runtime nano.onnx": ["gpvit.runtime", graph, photo],
        }
        print(describe_machine())
        for name, (module, *arguments) in commands.items():
            start = partial(subprocess.run, [sys.executable, "-m", module, *arguments], check=True, capture_output=True)
            seconds = [duration(start) for _ in range(1 + STARTS)][1:]
            print(f"{name:36} {median(seconds):5.2f} s ({min(seconds):.2f} to {max(seconds):.2f})")


if __name__ == "__main__":
    main()
