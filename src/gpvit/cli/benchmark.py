"""The verb `gpvit benchmark`."""

import inspect
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from rich.console import Console

from gpvit.data.module import ImageData
from gpvit.data.synthetic.digits import Digits
from gpvit.data.transforms.classification import IMAGENET
from gpvit.errors import UserError
from gpvit.profile.benchmark import SUITES
from gpvit.profile.benchmark import benchmark as measure
from gpvit.profile.loading import measure_loading
from gpvit.profile.training_step import open_recipe
from gpvit.profile.workload import Case, Mode, Precision, parse_size
from gpvit.tasks.evaluation import open_data
from studies.peers import PEERS, SIZES, measure_peers
from studies.peers_chart import draw_peers

_ROUNDS = 10
PEERS_SUITE = "peers"


def benchmark(
    models: list[str],
    size: str | None = None,
    batch_size: str = "8",
    mode: Mode = "forward",
    features: bool = False,
    compile: bool = False,
    dtype: Precision | None = None,
    device: str = "cpu",
    baseline: str | None = None,
    suite: str | None = None,
    rounds: int | None = None,
    warmup: int = 2,
    no_memory: bool = False,
    num_workers: str = "0,1,2",
    out: str | None = None,
) -> None:
    """Measure time and memory of models side by side, in interleaved rounds; or how fast data are loaded.

    `gpvit benchmark data RECIPE` times decoding, augmentation and the loader of a recipe's data, beside the training
    step of its model, and says which of them is the bottleneck; with the folder of a data set, the data alone.

    `gpvit benchmark --suite peers` sets GPViT beside the usual backbones of the field at three sizes, as a table and as
    a plot of published accuracy against time; on a GPU eager and compiled. Models and sizes given are taken instead.

    Args:
        models: Names of the models; any timm name will do. Or `data` and a recipe, a folder of images or shards, or
            `digits`.
        size: Image height x width in pixels, 224x224 if not given; several, separated by commas, are all measured.
        batch_size: Images per step; several, separated by commas, are all measured. Data keep their own.
        mode: Inference, or a training step: forward, backward and AdamW.
        features: Run the models as backbones that return their feature maps, as a detector would use them.
        compile: Compile the models with torch.compile first; needs a C++ compiler.
        dtype: Precision, float32 if not given (of peers on a GPU, bfloat16); bfloat16 is autocast over float32 weights.
        device: `cpu` or `cuda`.
        baseline: One of the models; the others' time and memory are printed as multiples of its own.
        suite: Name of a ready-made list of cases, in place of models, sizes, batch sizes and modes: field or peers.
        rounds: How often each case is timed, 10 times if not given (peers 3); of data, batches.
        warmup: Untimed steps of each case beforehand.
        no_memory: Do not measure peak memory, which takes a process of its own for each case.
        num_workers: Loader processes that data are timed with.
        out: Folder for benchmark.csv and benchmark.json, or loading.csv, or the table and the plot of peers.
    """
    if models[:1] == ["data"]:
        fixed = {"size": size, "batch_size": batch_size, "mode": mode, "features": features, "compile": compile}
        fixed |= {"dtype": dtype, "baseline": baseline, "suite": suite, "no_memory": no_memory}
        _refuse("data are timed as their recipe has them", _changed(fixed))
        _benchmark_data(models[1:], num_workers, _ROUNDS if rounds is None else rounds, warmup, device, out)
        return
    _refuse("it is for `gpvit benchmark data`", _changed({"num_workers": num_workers}))
    settings: dict[str, Any] = {"mode": mode, "features": features, "compile": compile, "baseline": baseline}
    if suite == PEERS_SUITE:
        _refuse("peers have their own", _changed(settings | {"batch_size": batch_size}))
        options = {"warmup": warmup, "device": device, "dtype": dtype, "memory": not no_memory}
        _benchmark_peers(models, size, out, **options, **({} if rounds is None else {"rounds": rounds}))
        return
    precision = dtype or "float32"
    if suite is None:
        cases = _grid(models, size or "224x224", batch_size, dtype=precision, device=device, **settings)
    else:
        cases = _suite(suite, models, precision, device, size=size, batch_size=batch_size, **settings)
    report = measure(cases, _ROUNDS if rounds is None else rounds, warmup, memory=not no_memory, progress=True)
    Console().print(report)
    for path in report.write(out) if out is not None else []:
        print(path)


def _grid(models: list[str], size: str, batch_size: str, compile: bool, **setting: Any) -> list[Case]:
    if not models:
        raise UserError(f"name at least one model, or a suite with --suite ({', '.join([*SUITES, PEERS_SUITE])})")
    if not all(batch.isdecimal() for batch in batch_size.split(",")):
        raise UserError(f"batch size is {batch_size!r}; give a number, or several separated by commas")
    sizes, batches = map(parse_size, size.split(",")), map(int, batch_size.split(","))
    return [
        Case(model, each_size, batch, compiled=compile, **setting)
        for each_size, batch, model in product(sizes, batches, models)
    ]


def _suite(name: str, models: list[str], dtype: Precision, device: str, **fixed: Any) -> list[Case]:
    if name not in SUITES:
        raise UserError(f"no suite is called {name!r}; there is {', '.join([*SUITES, PEERS_SUITE])}")
    if given := ["models"] * bool(models) + _changed(fixed):
        raise UserError(f"suite {name!r} fixes models and settings; leave out {', '.join(given)}, or the suite")
    return [replace(case, dtype=dtype, device=device) for case in SUITES[name]]


def _benchmark_peers(models: list[str], size: str | None, out: str | None, **options: Any) -> None:
    sizes = SIZES if size is None else tuple(map(parse_size, size.split(",")))
    table = measure_peers(models or tuple(PEERS), sizes, progress=True, **options)
    Console().print(table)
    for path in [*table.write(out), *draw_peers(table, out)] if out is not None else []:
        print(path)


def _changed(options: dict[str, Any]) -> list[str]:
    """Name the options that are not as they are by default."""
    parameters = inspect.signature(benchmark).parameters
    return [f"--{name.replace('_', '-')}" for name, value in options.items() if value != parameters[name].default]


def _refuse(reason: str, given: list[str]) -> None:
    if given:
        raise UserError(f"leave out {', '.join(given)}: {reason}")


def _benchmark_data(names: list[str], num_workers: str, rounds: int, warmup: int, device: str, out: str | None) -> None:
    if len(names) != 1:
        raise UserError("name one recipe, one folder of images or shards, or digits: gpvit benchmark data RECIPE")
    if not all(number.isdecimal() for number in num_workers.split(",")):
        raise UserError(f"num_workers is {num_workers!r}; give a number, or several separated by commas")
    name = names[0]
    model = None
    data: ImageData
    if name == "digits":
        data = Digits()
    elif Path(name).expanduser().is_dir():
        data = open_data(name, IMAGENET, batch_size=64, num_workers=0)
    else:
        data, model = open_recipe([name], device)
    workers = [int(number) for number in num_workers.split(",")]
    report = measure_loading(data, workers, rounds, warmup, model, progress=True)
    Console().print(report)
    if out is not None:
        print(report.write(out))
