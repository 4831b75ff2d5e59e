"""The front: routes, keys, errors, metrics and logs; a clean stop. It decodes no image and loads no model."""

import asyncio
import hmac
import logging
import math
import socket
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from importlib.resources import files
from typing import Any

import uvicorn
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gpvit.serve.messages import Answer, Refusal, Setup, busy, to_json
from gpvit.serve.openapi import describe
from gpvit.serve.pool import Pool
from gpvit.serve.requests import Reader, question_of

_LOG = logging.getLogger("gpvit.serve")
_CONNECTIONS = 1000  # above them uvicorn answers 503 by itself; each takes a file descriptor
_OWN_ONLY = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"


class Service:
    """The application `app`, its workers and their limits.

    Args:
        setup: The models, and how they compute.
        wait_s: Longest time that an image waits for others of its batch.
        key: What clients of `/v1` and `/metrics` must show; empty for none.

    Raises:
        UserError: A model cannot be loaded.
    """

    def __init__(self, setup: Setup, wait_s: float, key: str = "") -> None:
        self.key, self.stopping, self.busy = key.encode(), False, 0
        self.registry = CollectorRegistry()
        self.pool, self.reader = Pool(setup, wait_s, self.registry), Reader(setup.limits)
        get: dict[str, Callable[[Request], Response]] = {
            "/v1/models": self._models,
            "/healthz": lambda request: _respond(Answer(200, b'{"status":"ok"}')),
            "/readyz": self._ready,
            "/metrics": self._metrics,
            "/openapi.json": lambda request: _respond(Answer(200, to_json(describe(self.pool.models, bool(key))))),
            "/": partial(_page, "page.html", "text/html"),
            "/page.js": partial(_page, "page.js", "text/javascript"),
        }
        routes = [Route(path, answer, methods=["GET"]) for path, answer in get.items()]
        verbs = ("predict", "groups")
        routes += [Route(f"/v1/{verb}", partial(self._images, verb), methods=["POST"]) for verb in verbs]
        handlers: dict[Any, Any] = {HTTPException: _refused, Refusal: _refused, Exception: _failed}
        application = Starlette(routes=routes, exception_handlers=handlers, lifespan=self._lifespan)
        application.router.redirect_slashes = False
        self.app: ASGIApp = _Observed(application, self.registry, [route.path for route in routes])

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        lanes = asyncio.create_task(self.pool.run())
        yield
        lanes.cancel()
        await asyncio.wait([lanes])

    async def _images(self, verb: str, request: Request) -> Response:
        """Answer a request with images; one with several gives an answer, or an error, in the place of each."""
        self._admit(request)
        if self.stopping:
            raise busy("the service is stopping")
        question = question_of(request, verb, self.pool.models)
        self.busy += 1
        try:
            async with self.reader.images(request) as images:
                if question.png and len(images) > 1:
                    raise Refusal(406, "a PNG answers one image; ask for application/json")
                answers = await self.pool.answer(question, images)
        finally:
            self.busy -= 1
        if len(answers) == 1 and (answers[0].status != 200 or answers[0].png):
            return _respond(answers[0])
        results = b",".join(answer.body for answer in answers)
        return _respond(Answer(200, b'{"model":%s,"results":[%s]}' % (to_json(question.model), results)))

    def _models(self, request: Request) -> Response:
        self._admit(request)
        return _respond(Answer(200, to_json({"models": list(self.pool.models.values())})))

    def _metrics(self, request: Request) -> Response:
        self._admit(request)
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)

    def _ready(self, request: Request) -> Response:
        if self.stopping or not self.pool.up:
            raise busy("the service is stopping" if self.stopping else "no worker is up")
        return _respond(Answer(200, b'{"status":"ready"}'))

    def _admit(self, request: Request) -> None:
        given = request.headers.get("authorization", "").encode("latin-1")
        if self.key and not hmac.compare_digest(given, b"Bearer " + self.key):
            raise Refusal(401, "give the key: Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"})


class _Observed:
    """Gives each request an id, counts it and logs it: never its content, its address or the names of its files."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry, paths: list[str]) -> None:
        self.app, self.paths = app, paths
        self.count = Counter("gpvit_requests", "Requests.", ["route", "status"], registry=registry)
        self.seconds = Histogram("gpvit_request_seconds", "Time to an answer.", ["route"], registry=registry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, received, status, name = time.perf_counter(), 0, 500, uuid.uuid4().hex[:16]

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def labelled(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", name.encode())]
            await send(message)

        try:
            await self.app(scope, counted, labelled)
        finally:
            taken, route = time.perf_counter() - start, scope["path"] if scope["path"] in self.paths else "other"
            self.count.labels(route, status).inc()
            self.seconds.labels(route).observe(taken)
            _LOG.info("%s %s %d bytes %d in %.0f ms", name, route, received, status, 1000 * taken)


class _Server(uvicorn.Server):
    """A server that, told to end, refuses new images and answers those it has; told twice, it refuses these too."""

    service: Service
    told = 0

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Take a signal to end."""
        self.told += 1
        self.service.stopping = True

    async def on_tick(self, counter: int) -> bool:
        """Look, ten times a second, whether it is time to end."""
        if self.told > 1:
            self.service.pool.give_up()
        self.should_exit = self.told > 1 or (self.told > 0 and not self.service.busy)
        return await super().on_tick(counter)


def serve(setup: Setup, host: str, port: int, wait_s: float, key: str) -> None:
    """Load the models, and serve them until the process is told to end.

    Raises:
        UserError: A model cannot be loaded.
        OSError: The address cannot be listened on.
    """
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s", level=logging.WARNING)
    _LOG.setLevel(logging.INFO)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listening:
        service = Service(setup, wait_s, key)
        _LOG.info("%s at http://%s:%d", ", ".join(service.pool.models), *listening.getsockname()[:2])
        config = uvicorn.Config(
            service.app,
            http="h11",  # whose limits of headers the docs name, also where another parser is installed
            ws="none",
            access_log=False,
            log_config=None,
            server_header=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=math.ceil(setup.limits.seconds),
        )
        server = _Server(config)
        server.service = service
        server.run([listening])


def _respond(answer: Answer, headers: dict[str, str] | None = None) -> Response:
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"} | (headers or {})
    if answer.status == 503:
        headers |= {"Retry-After": "1"}
    return Response(answer.body, answer.status, headers, "image/png" if answer.png else "application/json")


def _refused(request: Request, error: Any) -> Response:
    if isinstance(error, HTTPException):  # by the router: no such address, or not with this method
        error = Refusal(error.status_code, error.detail, error.headers)
    return _respond(error.answer, error.headers)


def _failed(request: Request, error: Exception) -> Response:
    return _respond(Refusal(500, "the service failed; its log says why").answer)


def _page(name: str, kind: str, request: Request) -> Response:
    headers = {"Content-Security-Policy": _OWN_ONLY, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}
    return Response(files("gpvit.serve").joinpath(name).read_bytes(), headers=headers, media_type=kind)
