"""Chapters become one HTML file that any browser opens from disk."""

import os
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import jinja2
from markupsafe import Markup

from gpvit.demo.page.parts import Chapter
from gpvit.errors import UserError


def render(title: str, lead: str, chapters: Sequence[Chapter], footer: str = "") -> str:
    """Write a page that needs nothing but itself.

    Args:
        title: Heading of the page.
        lead: What it is about, in a sentence or two.
        chapters: In reading order.
        footer: Last line.

    Raises:
        ValueError: If two chapters or sections have the same name.
    """
    names = [name for each in chapters for name in (each.name, *(section.name for section in each.sections))]
    if len(set(names)) != len(names):
        raise UserError(f"chapters and sections are named {names}; each needs a name of its own, for its address")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__name__.rpartition(".")[0], "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = Markup(files(__package__).joinpath("report.css").read_text(encoding="utf-8"))
    page = environment.get_template("report.html")
    return page.render(title=title, lead=lead, chapters=chapters, footer=footer, style=style)


def write_page(page: str, path: Path) -> None:
    """Write a page, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".saving-") as folder:
        temporary = Path(folder) / path.name
        temporary.write_text(page, encoding="utf-8")
        os.replace(temporary, path)
