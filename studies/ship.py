"""Puts the weights of a run into the package: half precision, with a certificate of what they score."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

import gpvit
from gpvit.io import write_text
from gpvit.zoo.catalog import SHIPPED

PAGE = Path(__file__).parents[1] / "docs" / "weights.md"
"""Holds the table of all weights that come with the package."""

_SCORES = {"top1": "top-1", "miou": "mIoU", "box_ap": "box AP", "mask_ap": "mask AP"}
_OF_TRAINING = ("preprocessing", "augmentation", "num_workers", "train_digits", "train_scenes")


def ship(run: Path, name: str) -> list[Path]:
    """Write MODEL.TAG.safetensors and .json of a run's last weights, which no score chose.

    The weights are scored by `gpvit evaluate` as anybody would, on the validation data of the run; the certificate
    holds that command.
    """
    weights, certificate = f"{name}.safetensors", f"{name}.json"
    gpvit.save(gpvit.load(run / "last.safetensors").half(), SHIPPED / weights)
    settings = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))["data"]
    # the file says itself how images are prepared; how training varied them has no bearing on a score
    given = {key: value for key, value in settings.items() if key not in _OF_TRAINING and value is not None}
    flags = [f"--data.{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in given.items()]
    told = _evaluate([weights, *flags, "--json", "-"])
    score = next(value for value in json.loads(told).values() if isinstance(value, float))  # the task's first
    _evaluate([weights, *flags, "--expect", f"{score:.3f}", "--certificate", certificate])
    text = (SHIPPED / certificate).read_text(encoding="utf-8")
    (SHIPPED / certificate).write_text(
        text.replace(f'"{weights}"', f'"{name}"', 1).replace(f"evaluate {weights}", f"evaluate {name}"),
        encoding="utf-8",
    )
    write_text(PAGE, with_table(PAGE.read_text(encoding="utf-8")))
    return [SHIPPED / weights, SHIPPED / certificate, PAGE]


def with_table(page: str) -> str:
    """Put the weights that are in the package, by their certificates, into the page's table."""
    lines = ["| Weights | Score | Images | Classes | MB |", "|---|---|---:|---|---:|"]
    for certificate in sorted(SHIPPED.glob("*.json")):
        facts = json.loads(certificate.read_text(encoding="utf-8"))
        scores = facts["scores"]
        told = [f"{100 * scores[key]:.1f} % {name}" for key, name in _SCORES.items() if key in scores]
        model: Any = gpvit.load(certificate.with_suffix(".safetensors"))
        classes = ", ".join(model.pretrained_cfg["label_names"])
        size = f"{facts['weights']['bytes'] / 1e6:.1f}"
        cells = f"`{certificate.stem}`", ", ".join(told), f"{facts['data']['images']:,}", classes, size
        lines.append(f"| {' | '.join(cells)} |")
    before, _, rest = page.partition("| Weights | Score")
    return before + "\n".join(lines) + "\n\n" + rest.partition("\n\n")[2]


def _evaluate(arguments: list[str]) -> bytes:
    return subprocess.run(
        [sys.executable, "-m", "gpvit", "evaluate", *arguments], cwd=SHIPPED, stdout=subprocess.PIPE, check=True
    ).stdout
