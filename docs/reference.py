"""A Sphinx extension: the directives `{verbs}` and `{names}` write the references from the package itself."""

import inspect
import io
import os
from contextlib import redirect_stdout, suppress
from importlib import import_module

from docstring_parser import parse
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from gpvit.cli import PARSE_THEMSELVES, VERBS, main


class Verbs(SphinxDirective):
    """Describe every verb of the command line."""

    def run(self) -> list[nodes.Node]:
        """Return a section for each verb."""
        text = "\n".join(f"## gpvit {verb}\n\n{_verb(verb)}\n" for verb in VERBS)
        return self.parse_text_to_nodes(text, allow_section_headings=True)


class Names(SphinxDirective):
    """Describe every public name, or those of the module that the argument names."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the descriptions, by autodoc."""
        name = self.arguments[0] if self.arguments else "gpvit"
        module = import_module(name)
        text = "".join(_name(name, public, getattr(module, public)) for public in sorted(module.__all__))
        return self.parse_text_to_nodes(f"```{{eval-rst}}\n{text}```\n")


def _name(module: str, name: str, value: object) -> str:
    if inspect.isclass(value):
        return f".. autoclass:: {module}.{name}\n   :members:\n\n"
    return f".. autofunction:: {module}.{name}\n\n" if callable(value) else ""


def _verb(verb: str) -> str:
    """Describe a verb by its signature and docstring; one that parses its options itself, by its help."""
    if verb in PARSE_THEMSELVES:
        return f"```console\n{_help(verb)}```"
    function = getattr(import_module(f"gpvit.cli.{verb}"), verb)
    documentation = parse(inspect.getdoc(function) or "")
    usage, _, _ = _help(verb).partition("\n\n")
    lines = [documentation.short_description or "", f"```console\n{usage.removeprefix('usage: ')}\n```"]
    if documentation.long_description:
        lines.append(documentation.long_description)
    parameters = inspect.signature(function).parameters
    for each in documentation.params:
        given = parameters.get(each.arg_name)
        positional = given is not None and given.default is inspect.Parameter.empty
        name = each.arg_name.upper() if positional else "--" + each.arg_name.replace("_", "-")
        description = " ".join((each.description or "").split())
        lines.append(f"`{'--data.KEY VALUE' if each.arg_name.startswith('*') else name}`\n: {description}")
    return "\n\n".join(lines)


def _help(verb: str) -> str:
    os.environ["COLUMNS"] = "88"
    with redirect_stdout(io.StringIO()) as written, suppress(SystemExit):
        main([verb, "--help"])
    return written.getvalue()


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("verbs", Verbs)
    app.add_directive("names", Names)
    return {"parallel_read_safe": True}
