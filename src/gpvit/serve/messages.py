"""What the front and its workers say to each other; it loads neither torch nor a web server."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from gpvit.errors import UserError


@dataclass(frozen=True)
class Limits:
    """What one request may ask for, and how much may wait.

    Args:
        bytes: Of a request's body; all bodies held at a time have eight times as many.
        pixels: Of an image, before it is decoded.
        parts: Images of a request.
        seconds: Until a body has arrived, and from there until it is answered.
        queue: Images that wait for a worker.
    """

    bytes: int = 32 * 2**20
    pixels: int = 50_000_000
    parts: int = 16
    seconds: float = 30.0
    queue: int = 128

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise UserError(f"the limit of {name} is {value}; give one above 0")


@dataclass(frozen=True)
class Setup:
    """What a worker is started with: models by name, where and how they compute."""

    models: Mapping[str, str]
    device: str | None = None
    batch_size: int | None = None
    workers: int = 1
    limits: Limits = field(default_factory=Limits)


class Question(NamedTuple):
    """What is asked of an image; only equal questions share a batch."""

    verb: str  # predict or groups
    model: str
    png: bool
    top: int
    score: float


class Answer(NamedTuple):
    """A status of HTTP, and PNG or else JSON."""

    status: int
    body: bytes
    png: bool = False


class Refusal(UserError):
    """A request that is not served: the status of HTTP, why, and headers that say what to do."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None):
        super().__init__(message)
        self.status, self.headers = status, dict(headers or {})

    @property
    def answer(self) -> Answer:
        """What the client gets."""
        return Answer(self.status, to_json({"error": {"status": self.status, "message": str(self)}}))


def busy(message: str) -> Refusal:
    """Refuse for now."""
    return Refusal(503, message)


def to_json(value: Any) -> bytes:
    """Write compact JSON; numbers that are not finite, which it lacks, are errors."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def names_of(models: list[str]) -> dict[str, str]:
    """Name models for addresses: names of the catalog as they are, files and folders without the way there."""
    names = {Path(model).name if Path(model).name else model: model for model in models}
    if not models or len(names) < len(models):
        raise UserError(f"models {', '.join(models) or '(none)'}: name at least one, and none twice")
    return names
