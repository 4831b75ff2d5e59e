"""The verb `gpvit benchmark`."""

import inspect
from dataclasses import replace
from itertools import product
from typing import Any

from rich.console import Console

from gpvit.analysis.benchmark import SUITES
from gpvit.analysis.benchmark import benchmark as measure
from gpvit.analysis.workload import Case, Mode, Precision, parse_size


def benchmark(
    models: list[str],
    size: str = "224x224",
    batch_size: str = "8",
    mode: Mode = "forward",
    features: bool = False,
    compile: bool = False,
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
        models: Names of the models; any timm name will do.
        size: Image height x width in pixels; several, separated by commas, are all measured.
        batch_size: Images per step; several, separated by commas, are all measured.
        mode: Inference, or a training step: forward, backward and AdamW.
        features: Run the models as backbones that return their feature maps, as a detector would use them.
        compile: Compile the models with torch.compile first; needs a C++ compiler.
        dtype: Precision; bfloat16 is autocast over float32 weights.
        device: `cpu` or `cuda`.
        baseline: One of the models; the others' time and memory are printed as multiples of its own.
        suite: Name of a ready-made list of cases, in place of models, sizes, batch sizes and modes.
        rounds: How often each case is timed.
        warmup: Untimed steps of each case beforehand.
        no_memory: Do not measure peak memory, which takes a process of its own for each case.
        out: Folder for benchmark.csv and benchmark.json.
    """
    settings: dict[str, Any] = {"mode": mode, "features": features, "compile": compile, "baseline": baseline}
    if suite is None:
        cases = _grid(models, size, batch_size, dtype=dtype, device=device, **settings)
    else:
        cases = _suite(suite, models, dtype, device, size=size, batch_size=batch_size, **settings)
    report = measure(cases, rounds, warmup, memory=not no_memory, progress=True)
    Console().print(report)
    for path in report.write(out) if out is not None else []:
        print(path)


def _grid(models: list[str], size: str, batch_size: str, compile: bool, **setting: Any) -> list[Case]:
    if not models:
        raise ValueError(f"name at least one model, or a suite with --suite ({', '.join(SUITES)})")
    if not all(batch.isdecimal() for batch in batch_size.split(",")):
        raise ValueError(f"batch size is {batch_size!r}; give a number, or several separated by commas")
    sizes, batches = map(parse_size, size.split(",")), map(int, batch_size.split(","))
    return [
        Case(model, each_size, batch, compiled=compile, **setting)
        for each_size, batch, model in product(sizes, batches, models)
    ]


def _suite(name: str, models: list[str], dtype: Precision, device: str, **fixed: Any) -> list[Case]:
    if name not in SUITES:
        raise ValueError(f"no suite is called {name!r}; there is {', '.join(SUITES)}")
    parameters = inspect.signature(benchmark).parameters
    changed = [option for option, value in fixed.items() if value != parameters[option].default]
    if models or changed:
        given = ["models"] * bool(models) + [f"--{option.replace('_', '-')}" for option in changed]
        raise ValueError(f"suite {name!r} fixes models and settings; leave out {', '.join(given)}, or the suite")
    return [replace(case, dtype=dtype, device=device) for case in SUITES[name]]
