"""GPViT and its peers in the runtimes that people deploy in, side by side: torch, ONNX Runtime, OpenVINO.

`python -m benchmarks.runtimes --out docs/results` measures all. Weights are random, so graphs are not held to their
models here as `gpvit export` holds files, and int8 is calibrated on noise.
"""

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from statistics import median
from typing import Any

import numpy as np
import onnxruntime
import openvino
import timm
import torch
from matplotlib.figure import Figure
from rich.console import Console
from torch import nn

from gpvit.devices import describe_machine
from gpvit.export.graphs import build_graph
from gpvit.export.onnx import to_onnx
from gpvit.export.precisions import linear_layers, to_int8
from gpvit.export.tracing import trace
from gpvit.models.folding import fold
from gpvit.models.prepared import optimize
from gpvit.profile.measure import Measurement, Step, measure
from gpvit.profile.workload import create_for_size, forward_step, parse_size
from gpvit.runtime.sessions import INPUT
from studies.report import Column, ResultTable, chart, save_chart

WITHOUT_INT8 = ("features", "detection")  # no last layer to spare; calibration would keep all values of large images
CLASSIFIERS = tuple(f"gpvit_l{level}" for level in (1, 2, 3, 4))
PEERS = ("vit_small_patch16_224", "resnet50", "swin_tiny_patch4_window7_224", "convnext_tiny")
SETTINGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "classification": ("224x224", (*CLASSIFIERS, *PEERS)),
    "features": ("800x1280", ("gpvit_l1", "resnet50")),
    "segmentation": ("512x512", ("segformer_gpvit_l1",)),
    "detection": ("800x1280", ("mask_rcnn_gpvit_l1",)),
}
COLUMNS = [
    Column("model", "model"),
    Column("setting", "setting"),
    Column("runtime", "runtime"),
    Column("ms", "ms", 1),
    Column("speedup", "times as fast as eager", 2),
]


class Features(nn.Module):
    """A backbone's maps as a graph."""

    model: Any

    def __init__(self, name: str):
        super().__init__()
        self.model = fold(timm.create_model(name, features_only=True).eval())
        self.output_names = tuple(f"map_{i}" for i in range(len(self.model.feature_info.channels())))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Compute the maps."""
        return tuple(self.model(images))


@lru_cache(1)  # cases of a model follow each other
def network(name: str, setting: str, size: tuple[int, int]) -> nn.Module:
    """Make a model, with random weights."""
    torch.manual_seed(0)
    return create_for_size(name, size, features=setting == "features").eval()


@lru_cache(1)  # cases of a model follow each other
def onnx_model(name: str, setting: str, size: tuple[int, int]) -> tuple[Any, set[str]]:
    """Export a model for one size; and name the Linear layers that int8 is for."""
    model = network(name, setting, size)
    graph: Any = Features(name) if setting == "features" else build_graph(fold(model))
    layers = set() if setting == "features" else linear_layers(graph, model)
    return to_onnx(trace(graph, 3, uint8=False, fixed=size), tuple(graph.output_names), 20), layers


def in_torch(prepare: Callable[[nn.Module], Any], name: str, setting: str, size: tuple[int, int]) -> Step:
    """Run a model in torch: a detector on a list of images, a segmenter to logits of low resolution."""
    model = network(name, setting, size)
    images = torch.rand(1, 3, *size)
    run = prepare(build_graph(model) if setting == "segmentation" else model)
    step = (lambda batch: run(list(batch))) if setting == "detection" else run
    return forward_step(step, images, "float32")


def in_onnxruntime(is_int8: bool, name: str, setting: str, size: tuple[int, int]) -> Step:
    """Run an exported model in ONNX Runtime."""
    model, layers = onnx_model(name, setting, size)
    images = np.random.default_rng(0).standard_normal((1, 3, *size), np.float32)
    if is_int8:
        model = to_int8(model, iter([images] * 2), layers)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return partial(session.run, None, {INPUT: images})


def in_openvino(precision: str, name: str, setting: str, size: tuple[int, int]) -> Step:
    """Run an exported model in OpenVINO."""
    model, _ = onnx_model(name, setting, size)
    hints = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", hints)
    images = np.random.default_rng(0).standard_normal((1, 3, *size), np.float32)
    return partial(compiled, {0: images})


RUNTIMES: dict[str, Callable[[str, str, tuple[int, int]], Step]] = {
    "eager": partial(in_torch, lambda model: model),
    "prepared": partial(in_torch, optimize),
    "compiled": partial(in_torch, partial(torch.compile, dynamic=False)),
    "ONNX Runtime": partial(in_onnxruntime, False),
    "ONNX Runtime, int8": partial(in_onnxruntime, True),
    "OpenVINO, f32": partial(in_openvino, "f32"),
    "OpenVINO, bf16": partial(in_openvino, "bf16"),
}


@dataclass(frozen=True)
class Case:
    """A model in a runtime, on one image."""

    model: str
    setting: str
    runtime: str

    def __str__(self) -> str:
        return f"{self.model} ({self.setting}, {self.runtime})"

    @property
    def compiled(self) -> bool:
        """Whether the first step takes far longer than the others."""
        return self.runtime == "compiled"

    def build(self) -> Step:
        """Make the step."""
        return RUNTIMES[self.runtime](self.model, self.setting, parse_size(SETTINGS[self.setting][0]))


def table(cases: Sequence[Case], rounds: int, command: str) -> ResultTable:
    """Measure the cases of each setting in turns."""
    runs = [Measurement(case, warmup=2) for case in cases]
    for setting in dict.fromkeys(case.setting for case in cases):
        measure([run for run in runs if run.case.setting == setting], rounds, progress=True)
    seconds = {run.case: median(run.seconds) for run in runs}
    rows = []
    for case, each in seconds.items():
        eager = seconds.get(Case(case.model, case.setting, "eager"))
        row = {"model": case.model, "setting": f"{case.setting}, {SETTINGS[case.setting][0]}", "runtime": case.runtime}
        rows.append({**row, "ms": 1e3 * each, "speedup": eager and eager / each})
    notes = [
        f"One image, random weights; medians of {rounds} interleaved rounds after 2 for warm-up. {describe_machine()}.",
        "Prepared is what gpvit.Predictor runs. Segmenters give logits at low resolution, detectors all they find.",
    ]
    return ResultTable("runtimes", "Models in the runtimes of deployment", COLUMNS, rows, notes, command)


def draw(figure: Figure, result: ResultTable) -> None:
    """Draw milliseconds of classifiers by runtime, one group of bars for each model."""
    rows = [row for row in result.rows if row["setting"].startswith("classification")]
    models, runtimes = (list(dict.fromkeys(row[key] for row in rows)) for key in ("model", "runtime"))
    axes = figure.subplots()
    width = 0.8 / len(runtimes)
    for place, runtime in enumerate(runtimes):
        own = [row for row in rows if row["runtime"] == runtime]
        axes.bar(
            [models.index(row["model"]) + place * width for row in own],
            [row["ms"] for row in own],
            width,
            label=runtime,
        )
    axes.set(yscale="log", ylabel="ms an image (log)", title="224x224, one image")
    axes.set_xticks([i + 0.4 for i in range(len(models))], [model.split("_patch")[0] for model in models], rotation=20)
    axes.legend(fontsize="small", ncols=2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write the table and its picture into a folder."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runtimes", description=__doc__.partition("\n")[0])
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--models", nargs="+", help="by default those of each setting")
    parser.add_argument("--runtimes", nargs="+", choices=RUNTIMES, default=list(RUNTIMES))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", help="folder for runtimes.md, runtimes.csv and runtimes.png")
    arguments = sys.argv[1:] if arguments is None else arguments
    given = parser.parse_args(arguments)
    cases = [
        Case(model, setting, runtime)
        for setting in given.settings
        for model in given.models or SETTINGS[setting][1]
        for runtime in given.runtimes
        if not (setting in WITHOUT_INT8 and runtime.endswith("int8"))
    ]
    result = table(cases, given.rounds, shlex.join(["python", "-m", "benchmarks.runtimes", *arguments]))
    Console().print(result)
    if given.out is not None:
        paths = result.write(given.out)
        with chart(9, 4.5) as figure:
            draw(figure, result)
            paths += save_chart(figure, given.out, "runtimes", ("png",))
        print(*paths, sep="\n")


if __name__ == "__main__":
    main()
