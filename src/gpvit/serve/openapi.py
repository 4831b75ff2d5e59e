"""The service described in OpenAPI 3.1, from one table of what each address answers."""

from collections.abc import Mapping
from typing import Any

from gpvit.serve.requests import PARAMETERS
from gpvit.version import __version__

_ERRORS = {
    400: "the body is empty or cut short, or no valid multipart",
    401: "the key is missing or wrong",
    404: "no such model",
    406: "answers are application/json or image/png",
    408: "the body took too long",
    413: "too many bytes, pixels or parts",
    415: "no image of a known format",
    422: "a parameter is out of range, or an image is damaged",
    503: "busy, stopping, or a worker was lost: try again",
}
_TEXT, _NUMBER, _INTEGER, _ANY = ({"type": kind} for kind in ("string", "number", "integer", "object"))
_SCHEMAS: dict[str, Any] = {
    "Error": {"error": {"status": _INTEGER, "message": _TEXT}},
    "Results": {"model": _TEXT, "results": [_ANY]},
    "Models": {
        "models": [
            {
                "name": _TEXT,
                "task": _TEXT,
                "class_names": [_TEXT],
                "groups": {"type": "boolean"},
                "batch_size": _INTEGER,
            }
        ]
    },
    "Status": {"status": _TEXT},
}
_RESULTS = (
    "`results` holds for each image what its task gives: `top` classes; or `areas` of a label map; or `objects`; masks "
    "are COCO's run lengths. Of several images, one that cannot be answered has `error` in its place."
)
_POST = {
    "/v1/predict": ("Classify or segment images, or detect objects in them", _RESULTS),
    "/v1/groups": (
        "Tell what the groups of a GPViT attend to in images",
        "Blocks with their maps, one for each group.",
    ),
}
_GET = {
    "/v1/models": ("List the models", "Models", (401,)),
    "/healthz": ("Tell that the service runs", "Status", ()),
    "/readyz": ("Tell that it takes images", "Status", (503,)),
}


def describe(models: Mapping[str, Any], keyed: bool) -> dict[str, Any]:
    """Describe the service with these models, for which clients may need a key."""
    paths: dict[str, Any] = {
        path: {"get": {"summary": summary, "responses": _responses(schema, errors)}}
        for path, (summary, schema, errors) in _GET.items()
    }
    paths["/metrics"] = {"get": {"summary": "Counts and times for Prometheus", "responses": _text("text/plain")}}
    parameters = [_parameter("model", {"enum": list(models), "default": next(iter(models))}, "one of /v1/models")]
    for name, (kind, default, least, most, purpose) in PARAMETERS.items():
        schema = {"type": "integer" if kind is int else "number", "default": default, "minimum": least, "maximum": most}
        parameters.append(_parameter(name, schema, purpose))
    for path, (summary, description) in _POST.items():
        responses = _responses("Results", tuple(_ERRORS))
        responses["200"]["content"]["image/png"] = {"schema": {"type": "string", "format": "binary"}}
        facts = {"summary": summary, "description": description, "parameters": parameters}
        paths[path] = {"post": facts | {"requestBody": _BODY, "responses": responses}}
    for path in ("/v1/predict", "/v1/groups", "/v1/models", "/metrics") if keyed else ():
        paths[path]["post" if path in _POST else "get"]["security"] = [{"key": []}]
    schemas = {name: _schema(plain) for name, plain in _SCHEMAS.items()}
    security = {"key": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "gpvit serve", "version": __version__},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": security},
    }


_BINARY = {"type": "string", "format": "binary"}
_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["image"],
                "properties": {"image": {"type": "array", "items": _BINARY, "minItems": 1}},
            }
        },
        "application/octet-stream": {"schema": _BINARY},
        "image/*": {"schema": _BINARY},
    },
}


def _parameter(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _responses(schema: str, errors: tuple[int, ...]) -> dict[str, Any]:
    responses = {"200": _response("OK", schema)}
    return responses | {str(status): _response(_ERRORS[status], "Error") for status in errors}


def _response(description: str, schema: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": description, "content": content}


def _text(kind: str) -> dict[str, Any]:
    return {"200": {"description": "OK", "content": {kind: {"schema": _TEXT}}}}


def _schema(plain: Any) -> Any:
    """Write a schema of plain data: a dict of required properties, a list of one kind of items, or a schema."""
    if isinstance(plain, list):
        return {"type": "array", "items": _schema(plain[0])}
    if "type" in plain and isinstance(plain["type"], str):
        return plain
    properties = {name: _schema(value) for name, value in plain.items()}
    return {"type": "object", "properties": properties, "required": list(plain)}
