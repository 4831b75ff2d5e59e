"""The verb `gpvit benchmark`."""

import inspect
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from rich.console import Console

from gpvit.errors import UserError
from gpvit.profile.benchmark import SUITES, Report
from gpvit.profile.benchmark import benchmark as measure
from gpvit.profile.workload import Case, Mode, Precision, parse_size


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
    num_workers: str = "0,1,2",
    out: str | None = None,
) -> None:
    """Measure time and memory of models side by side, in interleaved rounds; or how fast data are loaded.

    `gpvit benchmark data RECIPE` times decoding, augmentation and the loader of a recipe's data, beside the training
    step of its model, and says which of them is the bottleneck; with the folder of a data set, the data alone.

    Args:
        models: Names of the models; any timm name will do. Or `data` and a recipe, a folder of images or shards, or
            `digits`.
        size: Image height x width in pixels; several, separated by commas, are all measured.
        batch_size: Images per step; several, separated by commas, are all measured. Data keep their own.
        mode: Inference, or a training step: forward, backward and AdamW.
        features: Run the models as backbones that return their feature maps, as a detector would use them.
        compile: Compile the models with torch.compile first; needs a C++ compiler.
        dtype: Precision; bfloat16 is autocast over float32 weights.
        device: `cpu` or `cuda`.
        baseline: One of the models; the others' time and memory are printed as multiples of its own.
        suite: Name of a ready-made list of cases, in place of models, sizes, batch sizes and modes: field.
        rounds: How often each case is timed; of data, batches.
        warmup: Untimed steps of each case beforehand.
        no_memory: Do not measure peak memory, which takes a process of its own for each case.
        num_workers: Loader processes that data are timed with.
        out: Folder for benchmark.csv and benchmark.json, or for loading.csv and loading.json.
    """
    setting: dict[str, Any] = {"mode": mode, "features": features, "compile": compile, "baseline": baseline}
    fixed = {"size": size, "batch_size": batch_size, **setting}
    is_data = models[:1] == ["data"]
    if is_data:
        fixed |= {"dtype": dtype, "suite": suite, "no_memory": no_memory}
        _refuse("data are timed as their recipe has them", _changed(fixed))
        report = _benchmark_data(models[1:], _numbers("num_workers", num_workers), rounds, warmup, device)
    else:
        _refuse("it is for `gpvit benchmark data`", _changed({"num_workers": num_workers}))
        if suite is None:
            sizes, batches = map(parse_size, size.split(",")), _numbers("batch size", batch_size)
            setting["compiled"] = setting.pop("compile")
            cases = [Case(model, each, batch, **setting) for each, batch, model in product(sizes, batches, models)]
            if not cases:
                raise UserError(f"name at least one model, or a suite with --suite ({', '.join(SUITES)})")
        elif suite in SUITES:
            _refuse(f"suite {suite!r} fixes models and settings", ["models"] * bool(models) + _changed(fixed))
            cases = SUITES[suite]
        else:
            raise UserError(f"no suite is called {suite!r}; there is {', '.join(SUITES)}")
        cases = [replace(case, dtype=dtype, device=device) for case in cases]
        report = measure(cases, rounds, warmup, memory=not no_memory, progress=True)
    Console().print(report)
    for path in report.write(out, "loading" if is_data else "benchmark") if out is not None else []:
        print(path)


def _benchmark_data(names: list[str], workers: list[int], rounds: int, warmup: int, device: str) -> Report:
    from gpvit.data import Digits, ImageFolder, Shards
    from gpvit.devices import choose_device
    from gpvit.profile.loading import measure_loading, training_step
    from gpvit.train.recipes import read_recipe

    if len(names) != 1:
        raise UserError("name one recipe, one folder of images or shards, or digits: gpvit benchmark data RECIPE")
    choose_device(device)
    folder, model = Path(names[0]).expanduser(), None
    data: Any
    if names == ["digits"]:
        data = Digits()
    elif folder.is_dir():
        data = (Shards if (folder / "_info.json").is_file() else ImageFolder)(folder, batch_size=64)
    else:
        recipe = read_recipe(names)
        # Weights have no bearing on time, and are perhaps not at hand.
        given = [key for key in ("weights", "backbone_weights") if recipe.settings["model"].get(key)]
        task, data, config = read_recipe([*names, *(f"--model.{key}=null" for key in given)]).build()
        model = partial(training_step, task, data, config, device)
    return measure_loading(data, workers, rounds, warmup, model, device, progress=True)


def _numbers(name: str, text: str) -> list[int]:
    if not all(number.isdecimal() for number in text.split(",")):
        raise UserError(f"{name} is {text!r}; give a number, or several separated by commas")
    return [int(number) for number in text.split(",")]


def _changed(options: dict[str, Any]) -> list[str]:
    """Name the options that are not as they are by default."""
    parameters = inspect.signature(benchmark).parameters
    return [f"--{name.replace('_', '-')}" for name, value in options.items() if value != parameters[name].default]


def _refuse(reason: str, given: list[str]) -> None:
    if given:
        raise UserError(f"leave out {', '.join(given)}: {reason}")
