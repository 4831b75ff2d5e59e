"""A shipped model learns a task of one's own from a folder of images, beside one that starts from random weights."""

import csv
import shutil
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from PIL import Image

from gpvit.demo import charts
from gpvit.demo.letters import write_letters
from gpvit.errors import UserError
from gpvit.inference.predictor import Predictor
from gpvit.inference.results.classification import ClassificationResult
from gpvit.train.recipes import train_recipe

_LETTERS, _RUN, _SCRATCH = "letters", "from_digits", "from_nothing"
_OURS = (  # what a demo leaves in its folder
    *("report.html", "metrics.json", "live/*", f"{_LETTERS}/train/?/*.png", f"{_LETTERS}/val/?/*.png"),
    *(f"{run}/{name}" for run in (_RUN, _SCRATCH) for name in ("config.yaml", "metrics.*", "events.out.tfevents.*")),
    *(f"{run}/{name}" for run in (_RUN, _SCRATCH) for name in ("data.png", "labels.csv", ".lock")),
    *(f"{run}/{name}" for run in (_RUN, _SCRATCH) for name in ("*.ckpt", "last.safetensors", "best.safetensors")),
)
_IMAGES = 12  # of each letter, to train on and to test with
_QUICK = ("--train.steps", "2", "--train.validate_every", "1", "--optim.warmup", "null")
_FROM_NOTHING = (
    "--model.weights",
    "null",
    "--optim.optimizer",
    "muon",
    "--optim.lr",
    "0.01",
)  # its best of those tried
_SHOWN = "AGKNQRSW"


def learn(out: Path, seed: int, quick: bool) -> dict[str, Any]:
    """Write a folder of letters, train on it twice, and show the test letters before, between and after."""
    images = 2 if quick else _IMAGES
    write_letters(out / _LETTERS, images, images, seed)
    common = ["recipes/letters/finetune.yaml", "--data.root", str(out / _LETTERS), "--train.seed", str(seed)]
    common += _QUICK if quick else ()
    _, summary = train_recipe([*common, "--out", str(out / _RUN)])
    train_recipe([*common, "--out", str(out / _SCRATCH), *_FROM_NOTHING])
    curves = {"from the digits": _curve(out / _RUN), "from random weights": _curve(out / _SCRATCH)}
    letters = [Image.open(out / _LETTERS / "val" / letter / "0.png") for letter in _SHOWN]
    answers = {name: _answers(out / run, letters) for name, run in zip(curves, (_RUN, _SCRATCH), strict=True)}
    return {
        "test": {name: points[-1][1] for name, points in curves.items()},
        "images": 26 * images,
        "seconds": summary["seconds"],
        "steps": summary["last"]["step"],
        "chart": charts.lines("Letters read correctly", curves, "step"),
        "examples": [
            (image, letter, [answers[name][n] for name in curves])
            for n, (image, letter) in enumerate(zip(letters, _SHOWN, strict=True))
        ],
        "weights": str(out / _RUN / "last.safetensors"),
    }


def remove_earlier(out: Path) -> None:
    """Remove what an earlier demo left in a folder, or nothing at all where the folder holds anything else."""
    found = [path for path in out.rglob("*") if not path.is_dir()] if out.is_dir() else []
    foreign = sorted(
        name for path in found if not any(fnmatch(name := path.relative_to(out).as_posix(), known) for known in _OURS)
    )
    if foreign or (found and not (out / _LETTERS).is_dir()) or (out.exists() and not out.is_dir()):
        what = "is no folder" if not found else f"holds {(foreign or ['files'])[0]}, not of an earlier demo"
        raise UserError(f"{out} {what}: name another --out")
    if found:
        shutil.rmtree(out)


def _curve(run: Path) -> list[tuple[float, float]]:
    """Give the points `(step, accuracy)` of a run."""
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [(float(row["step"]), float(row["val/top1"])) for row in csv.DictReader(file) if row["val/top1"]]


def _answers(run: Path, images: Sequence[Image.Image]) -> list[tuple[str, float]]:
    """Give the class and probability that the last weights of a run, which no score chose, answer for each image."""
    predictor: Predictor[ClassificationResult] = Predictor(run / "last.safetensors")
    return [(name, share) for result in predictor(list(images)) for name, _, share in result.top(1)]
