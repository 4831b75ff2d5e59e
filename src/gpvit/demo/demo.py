"""The demo: train a small GPViT to read, to label and to find digits, and write a report about it."""

import base64
import io
import json
import shlex
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from PIL import Image

from gpvit.demo.facts import credits, detection_facts, digits_facts, segmentation_facts
from gpvit.demo.inside import cost_facts, group_facts
from gpvit.demo.runs import RUNS, remove_runs, train
from gpvit.io import write_text

# Some 100 s each on two cores. The detector's backbone starts from the segmenter's: from random weights it would find
# next to nothing in so short a time.
_SEGMENT = (
    *("--train.steps", "400", "--train.validate_every", "100", "--data.test_scenes", "100"),
    *("--model.background_weight", "0.3", "--data.train_digits", "[4, 10]"),
)
_DETECT = ("--train.steps", "140", "--train.validate_every", "35", "--data.test_scenes", "50")
_QUICK = ("--train.steps", "2", "--train.validate_every", "2", "--optim.warmup_steps", "0")
_QUICK_SCENES = (*_QUICK, "--data.train_scenes", "16", "--data.test_scenes", "8")


def run_demo(out: Path, seed: int = 0, quick: bool = False) -> Path:
    """Train, measure and write the report, in place of an earlier demo's in the same folder; return its path."""
    remove_runs(out)
    run, segmentation, detection = (out / name for name in RUNS)
    print("1 of 3: reading the handwritten digits that come with scikit-learn", flush=True)
    reader = train("digits/classify.yaml", run, seed, (*_QUICK, "--optim.warmup_epochs", "null") if quick else ())
    print("2 of 3: labelling every pixel of scenes with such digits", flush=True)
    labeller = train("digit_scenes/segment.yaml", segmentation, seed, _QUICK_SCENES if quick else _SEGMENT)
    print("3 of 3: finding each digit in such scenes", flush=True)
    backbone = ("--model.backbone_weights", str(labeller.weights))
    options = (*backbone, *(_QUICK_SCENES if quick else _DETECT))
    finder = train("digit_scenes/detect.yaml", detection, seed, options)
    facts = {
        "command": shlex.join(["gpvit", "demo", "--out", str(out), "--seed", str(seed), *["--quick"] * quick]),
        "digits": digits_facts(reader),
        "segmentation": segmentation_facts(labeller),
        "detection": detection_facts(finder),
        "groups": group_facts(reader, quick),
        "cost": cost_facts(reader, quick),
    }
    write_report(facts, out)
    return out / "report.html"


def write_report(facts: dict[str, Any], out: Path) -> None:
    """Write `report.html`, which needs no other file, and `metrics.json`, of facts by chapter."""
    shown = ("model", "training", "test")
    figures = {name: {key: facts[name][key] for key in shown} for name in ("digits", "segmentation", "detection")}
    figures |= {"command": facts["command"], "speed": facts["cost"]["speed"]}
    write_text(out / "metrics.json", json.dumps(figures, indent=1) + "\n")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gpvit.demo", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"url": data_url, "percent": lambda share: f"{share:.1%}"}
    here = files("gpvit.demo")
    style, drawing = (Markup(here.joinpath(n).read_text("utf-8")) for n in ("report.css", "group_propagation.svg"))
    page = environment.get_template("report.html.j2").render(**facts, style=style, drawing=drawing, credits=credits)
    write_text(out / "report.html", page)


def data_url(content: Image.Image | bytes, photograph: bool = False) -> str:
    """Encode an image as an address that holds it: bytes are SVG; an image becomes PNG, or JPEG as a photograph."""
    kind = "svg+xml"
    if isinstance(content, Image.Image):
        kind, buffer = "jpeg" if photograph else "png", io.BytesIO()
        content.save(buffer, kind, quality=85, optimize=True)
        content = buffer.getvalue()
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
