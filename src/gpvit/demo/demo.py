"""The demo: the shipped models answer, one of them learns something new, and a report shows all of it."""

import base64
import io
import json
import shlex
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from PIL import Image

from gpvit.demo.inside import cost_facts, group_facts
from gpvit.demo.learning import learn, remove_earlier
from gpvit.demo.shipped import LABELLER, credits, finder_facts, labeller_facts, reader_facts
from gpvit.errors import UserError
from gpvit.export.web import write_page
from gpvit.io import write_text


def run_demo(out: Path, seed: int = 0, quick: bool = False) -> Path:
    """Predict, train, measure and write the report, in place of an earlier demo's in a folder; return its path."""
    remove_earlier(out)
    facts: dict[str, Any] = {
        "command": shlex.join(["gpvit", "demo", "--out", str(out), "--seed", str(seed), *["--quick"] * quick])
    }
    chapters: dict[str, tuple[str, Callable[[], Any]]] = {
        "digits": ("reading handwritten digits", reader_facts),
        "segmentation": ("labelling every pixel of scenes with such digits", lambda: labeller_facts(quick)),
        "detection": ("finding each digit in such scenes", lambda: finder_facts(quick)),
        "learning": ("learning letters, from the digits' weights and from nothing", lambda: learn(out, seed, quick)),
        "groups": ("looking at the groups", group_facts),
        "cost": ("counting and timing", lambda: cost_facts(quick)),
        "live": ("making a page that labels your own images", lambda: None if quick else _live_page(out)),
    }
    for number, (name, (what, find)) in enumerate(chapters.items(), 1):
        print(f"{number} of {len(chapters)}: {what}", flush=True)
        facts[name] = find()
    write_report(facts, out)
    return out / "report.html"


def _live_page(out: Path) -> str | None:
    """Write a page with the segmenter beside the report, and return its address; None where npm cannot be had."""
    try:
        write_page(LABELLER, out / "live")
    except UserError as error:
        print(f"left out: {error}")
        return None
    return "live/index.html"


def write_report(facts: dict[str, Any], out: Path) -> None:
    """Write `report.html`, which needs no other file, and `metrics.json`, of facts by chapter."""
    figures = {name: facts[name]["test"] for name in ("digits", "segmentation", "detection", "learning")}
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
