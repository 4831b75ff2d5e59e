"""What a request holds: its images, read into memory within limits, and what is asked of them."""

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from gpvit.serve.messages import Limits, Question, Refusal, busy

_HELD_BODIES = 8  # of the largest size, in memory at a time
_RAW = ("", "application/octet-stream")
PARAMETERS: dict[str, tuple[type, float, float, float]] = {"top": (int, 5, 1, 1000), "score": (float, 0.5, 0, 1)}
"""Numbers in the query, type, default, least and most: classes of a classifier, least score of a detector's objects."""


class Reader:
    """Reads bodies, and holds no more of them than memory is meant for; nothing is written to a disk."""

    def __init__(self, limits: Limits) -> None:
        self.limits, self.held = limits, 0

    @asynccontextmanager
    async def images(self, request: Request) -> AsyncIterator[list[bytes]]:
        """Read the images of a request, the body or its parts; they count as held within the context."""
        limits, size = self.limits, 0

        async def chunks() -> AsyncGenerator[bytes, None]:
            nonlocal size
            async for chunk in request.stream():
                size += len(chunk)
                self.held += len(chunk)
                self._check(size)
                if self.held > _HELD_BODIES * limits.bytes:
                    raise busy("other requests fill the memory; try again")
                yield chunk

        try:
            try:
                async with asyncio.timeout(limits.seconds):
                    images = await self._read(request, chunks())
            except TimeoutError:
                raise Refusal(408, f"the body did not arrive within {limits.seconds:g} s") from None
            except ClientDisconnect:
                raise Refusal(400, "the body is cut short") from None
            yield images
        finally:
            self.held -= size

    async def _read(self, request: Request, chunks: AsyncGenerator[bytes, None]) -> list[bytes]:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        declared = request.headers.get("content-length", "0")
        self._check(int(declared) if declared.isdecimal() else 0)
        if kind == "multipart/form-data":
            images = await self._parts(request, chunks)
        elif kind in _RAW or kind.startswith("image/"):
            images = [b"".join([chunk async for chunk in chunks])]
        else:
            raise Refusal(415, f"Content-Type {kind[:60]}: send an image's bytes, or multipart/form-data")
        if not images or not all(images):
            raise Refusal(400, "the body, or a part of it, is empty; send an image")
        return images

    async def _parts(self, request: Request, chunks: AsyncGenerator[bytes, None]) -> list[bytes]:
        parser = MultiPartParser(request.headers, chunks, max_files=self.limits.parts, max_fields=0)
        parser.spool_max_size = self.limits.bytes + 1  # so that no part goes to a file
        try:
            form = await parser.parse()
        except MultiPartException as error:
            status = 413 if error.message.startswith("Too many files") else 400
            raise Refusal(status, f"multipart/form-data: {error.message} Each part is an image file.") from None
        return [await part.read() for _, part in form.multi_items() if isinstance(part, UploadFile)]

    def _check(self, size: int) -> None:
        if size > self.limits.bytes:
            raise Refusal(413, f"a request has at most {self.limits.bytes} bytes; send fewer or smaller images")


def question_of(request: Request, verb: str, models: dict[str, dict[str, Any]]) -> Question:
    """Read what is asked: the model, the numbers of the query, and the type of the answer."""
    query = request.query_params
    if unknown := set(query) - {"model", *PARAMETERS}:
        raise Refusal(422, f"unknown parameter {min(unknown)[:60]!r}; there are model, {', '.join(PARAMETERS)}")
    model = query.get("model", next(iter(models)))
    if model not in models:
        raise Refusal(404, f"no model {model[:60]!r}; there are {', '.join(models)}")
    if verb == "groups" and not models[model]["groups"]:
        raise Refusal(422, f"{model} has no groups to show; ask a GPViT, or a file that was exported with --groups")
    numbers = {name: _number(name, query.get(name)) for name in PARAMETERS}
    return Question(verb, model, _wants_png(request.headers.get("accept", "")), **numbers)


def _number(name: str, text: str | None) -> Any:
    kind, default, least, most = PARAMETERS[name]
    try:
        value = default if text is None else kind(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise Refusal(422, f"{name} is {str(text)[:60]!r}; give a number from {least:g} to {most:g}")
    return value


def _wants_png(accept: str) -> bool:
    """Choose between JSON and PNG: the one that is named first; what takes anything gets JSON."""
    for kind in accept.lower().split(",") if accept.strip() else ["*/*"]:
        match kind.partition(";")[0].strip():
            case "application/json" | "application/*" | "*/*":
                return False
            case "image/png" | "image/*":
                return True
    raise Refusal(406, f"Accept {accept[:60]!r}: answers are application/json or image/png")
