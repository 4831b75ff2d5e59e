"""The service described in OpenAPI 3.1."""

from collections.abc import Iterable
from importlib.resources import files
from typing import Any

import yaml

from gpvit.serve.requests import PARAMETERS
from gpvit.version import __version__


def describe(models: Iterable[str], keyed: bool) -> dict[str, Any]:
    """Describe the service with these models, of which the first is the default; clients may need a key."""
    described: dict[str, Any] = yaml.safe_load(files("gpvit.serve").joinpath("openapi.yaml").read_text("utf-8"))
    described["info"]["version"] = __version__
    names = list(models)
    asked: dict[str, Any] = {"model": {"enum": names, "default": names[0]}}
    for name, (kind, default, least, most) in PARAMETERS.items():
        number = "integer" if kind is int else "number"
        asked[name] = {"type": number, "default": default, "minimum": least, "maximum": most}
    for path in ("/v1/predict", "/v1/groups"):
        parameters = [{"name": name, "in": "query", "schema": schema} for name, schema in asked.items()]
        described["paths"][path]["post"]["parameters"] = parameters
    for operations in described["paths"].values() if not keyed else ():
        for operation in operations.values():
            operation.pop("security", None)
    return described
