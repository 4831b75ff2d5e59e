"""All that only a GPU can show, in one command: `python -m benchmarks.gpu`, under 8 minutes on one card.

Each stage writes a file of its own into `--out`; what lies there is not done again, so that a run that was cut off goes
on. `gpu.md` holds the tables of all stages that are done. No stage starts later than `--minutes` after the beginning.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.benchmark import timer

from gpvit.devices import choose_device, describe_machine
from gpvit.errors import UserError
from gpvit.io import write_text
from gpvit.models.folding import fold
from gpvit.profile.measure import Measurement, Step, measure
from gpvit.profile.workload import Case, create_for_size, format_size, forward_step
from studies.tables import count_by_name

_compiled = partial(torch.compile, dynamic=False)
WAYS: dict[str, Callable[[nn.Module], Any]] = {
    "eager": lambda model: model,
    "folded": fold,
    "compiled": lambda model: _compiled(fold(model)),
    "CUDA graphs": lambda model: _compiled(fold(model), mode="reduce-overhead"),
    "max-autotune": lambda model: _compiled(fold(model), mode="max-autotune"),
}
"""What is done to a network before it runs in bfloat16; training is `eager` or `compiled`, and never folded."""

# Each GPViT beside networks of timm with about its published accuracy, and the dense systems at their papers' sizes.
CLASSIFIERS = (
    *("gpvit_l1", "deit_small_patch16_224", "swin_tiny_patch4_window7_224"),
    *("gpvit_l2", "convnext_tiny", "gpvit_l3", "convnext_small", "gpvit_l4", "convnext_base"),
)
QUICK = ("gpvit_nano", "test_resnet")
DENSE: dict[str, tuple[int, int]] = {
    "segformer_gpvit_l1": (512, 2048),
    "upernet_gpvit_l1": (512, 2048),
    "upernet_resnet50": (512, 2048),
    "mask_rcnn_gpvit_l1": (800, 1280),
    "retinanet_gpvit_l1": (800, 1280),
}


@dataclass(frozen=True)
class OneWay(Case):
    """A case in one of `WAYS`."""

    way: str = "eager"
    added: list[int] = field(default_factory=list, compare=False)  # bytes of a GPU that each step adds at its peak

    @property
    def setting(self) -> str:
        """Everything but the models, in words."""
        return f"{super().setting}, {self.way}"

    def build(self) -> Step:
        """Make the step of inference, or of training, which is that of any case; it also notes its memory."""
        if self.mode == "train":
            run = super().build()
        else:
            model = create_for_size(self.model, self.size).eval().to(self.device)
            images = torch.rand(self.batch_size, 3, *self.size, device=self.device)
            run = forward_step(WAYS[self.way](model), images, self.dtype)
        if torch.device(self.device).type != "cuda":
            return run

        def step() -> None:
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            run()
            self.added.append(torch.cuda.max_memory_allocated() - before)

        return step


def _cases(
    setting: "Setting", models: Iterable[tuple[str, tuple[int, int]]], ways: Iterable[str], **rest: Any
) -> list[OneWay]:
    """Return a case for each model and way, in bfloat16."""
    compiled = {way: way not in ("eager", "folded") for way in ways}
    options = {"dtype": "bfloat16", "device": setting.device, **rest}
    return [
        OneWay(name, size, way=way, compiled=compiled[way], **options)
        for (name, size), way in product(models, compiled)
    ]


@dataclass(frozen=True)
class Setting:
    """Where and how large: a card, or with `quick` a CPU that only tries the command."""

    out: Path
    device: str
    quick: bool

    def run(self, *words: str, **environment: str) -> dict[str, Any]:
        """Run a command of Python; return how it ended, and the end of what it printed."""
        command = [sys.executable, "-m", *words]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
        return {"command": " ".join(["python", *command[1:]]), "exit": done.returncode, "printed": done.stdout[-4000:]}


def tests(setting: Setting) -> dict[str, Any]:
    """Run the tests marked `gpu`."""
    some = ["-k", "sampling"] if setting.quick else []
    return setting.run("pytest", "-n0", "-q", "-m", "gpu", "tests/gpu", *some, GPVIT_GPU=setting.device)


def peak_flops(device: str, size: int) -> float:
    """Return the operations a second that a large product in bfloat16 reaches: what a card can do, measured."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = []
    for _ in range(5):
        start = timer()
        torch.mm(a, b)
        seconds.append(timer() - start)
    return float(2 * size**3 / min(seconds))


def _measured(setting: Setting, cases: Iterable[OneWay]) -> dict[str, Any]:
    runs = [Measurement(case, warmup=2) for case in cases]
    measure(runs, rounds=2 if setting.quick else 10, progress=True)
    peak, rows = peak_flops(setting.device, 256 if setting.quick else 8192), []
    for run in runs:
        case, seconds = run.case, sorted(run.seconds)
        row = {"model": case.model, "size": format_size(case.size), "mode": case.mode, "way": case.way}
        if seconds:
            median = seconds[len(seconds) // 2]
            passes = 3 if case.mode == "train" else 1  # backward is two passes
            flops = 2 * passes * case.batch_size * count_by_name(case.model, case.size).macs
            row |= {"ms": 1e3 * median, "images/s": case.batch_size / median, "of peak": flops / median / peak}
            row |= {"MiB": max(case.added) / 2**20} if case.added else {}
        rows.append(row)
    return {"peak_tflops": peak / 1e12, "rows": rows}


def classifier(setting: Setting, name: str) -> dict[str, Any]:
    """Measure a classifier at 224x224: inference in every way, and training eager and compiled."""
    models, batch = ((name, (32, 32) if setting.quick else (224, 224)),), 2 if setting.quick else 64
    ways, trained = (("eager", "folded"), ("eager",)) if setting.quick else (tuple(WAYS), ("eager", "compiled"))
    if name != CLASSIFIERS[0]:  # to tune a model takes minutes
        ways = tuple(way for way in ways if way != "max-autotune")
    cases = _cases(setting, models, ways, batch_size=batch)
    return _measured(setting, cases + _cases(setting, models, trained, batch_size=batch, mode="train"))


def dense(setting: Setting) -> dict[str, Any]:
    """Measure whole segmenters and detectors on one image, eager and folded."""
    models = {"segformer_gpvit_nano": (32, 64)} if setting.quick else DENSE
    return _measured(setting, _cases(setting, models.items(), ("eager", "folded"), batch_size=1))


def table_10(setting: Setting) -> dict[str, Any]:
    """Measure the paper's Table 10."""
    quick = ["--quick"] * setting.quick
    words = ("studies", "table", "10", *quick, "--device", setting.device, "--dtype", "bfloat16")
    return setting.run(*words, "--out", str(setting.out))


def scaling(setting: Setting) -> dict[str, Any]:
    """Measure how time grows with the image."""
    words = ("studies", "scaling", *["--quick"] * setting.quick, "--blocks-only", "--rounds", "2", "--time-limit", "5")
    return setting.run(*words, "--device", setting.device, "--dtype", "bfloat16", "--out", str(setting.out))


def stages(quick: bool) -> dict[str, Callable[[Setting], dict[str, Any]]]:
    """Return all stages by their names, in their order."""
    names = QUICK if quick else CLASSIFIERS
    each = {name: partial(classifier, name=name) for name in names}
    return {"tests": tests, **each, "dense": dense, "table_10": table_10, "scaling": scaling}


def markdown(results: dict[str, dict[str, Any]]) -> str:
    """Return the tables of all stages."""
    lines = ["# On a GPU", ""]
    for name, found in results.items():
        lines += [f"## {name}", "", f"{found['machine']}; {found['device']}; {found['seconds']:.0f} s", ""]
        if "rows" not in found:
            lines += [
                f"`{found['command']}` ended with {found['exit']}.",
                "",
                "```",
                found["printed"].rstrip(),
                "```",
                "",
            ]
            continue
        heads = ("model", "size", "mode", "way", "ms", "images/s", "of peak", "MiB")
        lines += [f"Peak of a product, measured: {found['peak_tflops']:.1f} TFLOP/s.", ""]
        lines += ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
        for row in found["rows"]:
            cells = [row.get(head, "out of memory" if head == "ms" else "") for head in heads]
            lines.append("| " + " | ".join(f"{c:.3g}" if isinstance(c, float) else str(c) for c in cells) + " |")
        lines.append("")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Do the stages that are not done yet, as far as the time reaches."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/gpu"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try the command itself")
    args = parser.parse_args(arguments)
    device = choose_device(args.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    setting, begun, results = Setting(args.out, args.device, args.quick), timer(), {}
    for stage, make in stages(args.quick).items():
        path = args.out / f"{stage}.json"
        if not path.exists() and (start := timer()) - begun < 60 * args.minutes:
            print(stage, file=sys.stderr)
            found = {"machine": str(describe_machine()), "device": name, **make(setting), "seconds": timer() - start}
            write_text(path, json.dumps(found, indent=1) + "\n")
        if path.exists():
            results[stage] = json.loads(path.read_text())
    write_text(args.out / "gpu.md", markdown(results))
    print(args.out / "gpu.md")
    if failed := [name for name, found in results.items() if found.get("exit")]:
        raise SystemExit(f"failed: {', '.join(failed)}; see {args.out}, and delete a stage's file to do it again")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(f"python -m benchmarks.gpu: {error}") from error
