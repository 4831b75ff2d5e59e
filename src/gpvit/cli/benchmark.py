"""The verb `gpvit benchmark`."""

import inspect
from dataclasses import replace
from itertools import product
from typing import Any

from rich.console import Console

from gpvit.errors import UserError
from gpvit.profile.benchmark import SUITES
from gpvit.profile.benchmark import benchmark as measure
from gpvit.profile.workload import Case, Mode, Precision, parse_size


def benchmark(
    models: list[str],
    size: str = "224x224",
    batch_size: str = "8",
    mode: Mode = "forward",
    features: bool = False,
    compile: bool = False,
    plain: bool = False,
    dtype: Precision = "float32",
    device: str = "cpu",
    baseline: str | None = None,
    suite: str | None = None,
    rounds: int = 10,
    warmup: int = 2,
    no_memory: bool = False,
    out: str | None = None,
) -> None:
    """Measure time and memory of models side by side, in interleaved rounds.

    Args:
        models: Names of the models; any timm name will do. Exported files run on the CPU, in their own runtime and
            precision, with as many threads as torch.
        size: Image height x width in pixels; several, separated by commas, are all measured.
        batch_size: Images per step; several, separated by commas, are all measured.
        mode: Inference, or a training step: forward, backward and AdamW.
        features: Run the models as backbones that return their feature maps, as a detector would use them.
        compile: Compile the models with torch.compile first; needs a C++ compiler.
        plain: Run this package's models as they are. By default they are prepared for inference as for prediction
            (gpvit.optimize), and models of timm are not.
        dtype: Precision; bfloat16 is autocast over float32 weights.
        device: `cpu` or `cuda`.
        baseline: One of the models; the others' time and memory are printed as multiples of its own.
        suite: Name of a ready-made list of cases, in place of models, sizes, batch sizes and modes: field.
        rounds: How often each case is timed.
        warmup: Untimed steps of each case beforehand.
        no_memory: Do not measure peak memory, which takes a process of its own for each case.
        out: Folder for benchmark.csv and benchmark.json.
    """
    setting: dict[str, Any] = {"mode": mode, "features": features, "compiled": compile, "baseline": baseline}
    if suite is None:
        if not all(number.isdecimal() for number in batch_size.split(",")):
            raise UserError(f"batch size is {batch_size!r}; give a number, or several separated by commas")
        sizes, batches = map(parse_size, size.split(",")), map(int, batch_size.split(","))
        cases = [Case(model, each, batch, **setting) for each, batch, model in product(sizes, batches, models)]
        if not cases:
            raise UserError(f"name at least one model, or a suite with --suite ({', '.join(SUITES)})")
    elif suite in SUITES:
        cases, defaults = SUITES[suite], inspect.signature(benchmark).parameters
        fixed = {"size": size, "batch_size": batch_size, "mode": mode, "features": features, "compile": compile}
        fixed["baseline"] = baseline
        given = [f"--{name.replace('_', '-')}" for name, value in fixed.items() if value != defaults[name].default]
        if given := ["models"] * bool(models) + given:
            raise UserError(f"leave out {', '.join(given)}: suite {suite!r} fixes models and settings")
    else:
        raise UserError(f"no suite is called {suite!r}; there is {', '.join(SUITES)}")
    cases = [replace(case, prepared=not plain, dtype=dtype, device=device) for case in cases]
    report = measure(cases, rounds, warmup, memory=not no_memory, progress=True)
    Console().print(report)
    for path in report.write(out) if out is not None else []:
        print(path)
