"""What a benchmark times: one model in one setting, made into a plain function to call."""

import contextlib
import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import timm
import torch
from torch import nn

import gpvit
from gpvit.devices import choose_device, require_compiler
from gpvit.errors import UserError
from gpvit.io import located
from gpvit.models.prepared import Prepared
from gpvit.models.variants import VARIANTS
from gpvit.profile.measure import Memory, Step, measure_memory
from gpvit.runtime.container import read_metadata
from gpvit.zoo.catalog import find, split_system
from gpvit.zoo.exported import open_any
from gpvit.zoo.files import EXPORTED

Mode = Literal["forward", "train"]
Precision = Literal["float32", "bfloat16"]
RUNTIMES = {".onnx": "ONNX Runtime", ".xml": "OpenVINO", ".pt2": "torch.export"}
"""What computes an exported file, by the ending of its name."""


@dataclass(frozen=True)
class Case:
    """One model in one setting."""

    model: str  # any timm model name, one of this package, or the path of an exported file
    size: tuple[int, int] = (224, 224)  # height and width in pixels
    batch_size: int = 8
    mode: Mode = "forward"  # inference, or `train`: forward, backward and one AdamW step
    features: bool = False  # as a backbone that returns its feature maps (timm's ``features_only``)
    compiled: bool = False  # for this one shape
    prepared: bool = False  # models of this package, in inference in float32, as a Predictor runs them
    dtype: Precision = "float32"  # bfloat16 is autocast over float32 weights
    device: str = "cpu"
    baseline: str | None = None  # the model that this one is compared with in the same setting

    def __post_init__(self) -> None:
        for name, value, choices in (("mode", self.mode, Mode), ("dtype", self.dtype, Precision)):
            if value not in get_args(choices):
                raise UserError(f"{name} is {value!r}; choose one of {get_args(choices)}")
        if self.features and self.mode == "train":
            raise UserError("features=True has no logits to train on; choose mode='forward' or features=False")
        if min(*self.size, self.batch_size) < 1:
            raise UserError(f"size {self.size} and batch_size {self.batch_size} must be positive")

    @property
    def setting(self) -> str:
        """Everything but the models, in words."""
        task = "features" if self.features else self.mode
        kernels = "compiled" if self.compiled else "eager"
        return f"{format_size(self.size)}, batch {self.batch_size}, {task}, {kernels}, {self.dtype}, {self.device}"

    @property
    def runs_prepared(self) -> bool:
        """Whether a prepared copy is measured: models of timm, compiled ones and training run as they are."""
        applies = self.mode == "forward" and self.dtype == "float32" and not self.compiled
        return self.prepared and applies and (bool(split_system(self.model)[0]) or self.model in VARIANTS)

    def __str__(self) -> str:
        return f"{self.model} ({self.setting})"

    @property
    def subject(self) -> str:
        """The model, and of an exported file what computes it, how exactly, and with how many threads."""
        if not _is_exported(self.model):
            return self.model
        path = located(self.model)
        facts, runtime = read_metadata(path), RUNTIMES[path.suffix]
        return f"{Path(self.model).name} ({runtime}, {facts.precision}, {torch.get_num_threads()} threads)"

    def check(self) -> None:
        """Refuse a model, a device or a compilation that there is not here, which is quick to tell."""
        if _is_exported(self.model):
            self._check_exported()
            return
        _require_model(self.model)
        choose_device(self.device)
        if self.compiled:
            require_compiler()

    def _check_exported(self) -> None:
        if self.features or self.mode == "train":
            raise UserError(f"{self.model} is exported, and gives answers alone: leave out features and training")
        if self.device != "cpu":
            raise UserError(f"{self.model} is exported, and computes on the CPU: leave out {self.device}")
        read_metadata(located(self.model))

    def memory(self) -> Memory:
        """Measure the memory of the case in a process of its own."""
        # AdamW allocates its state at the end of a step, so the second one is the first with everything in place.
        return measure_memory(self.build, steps=2 if self.mode == "train" else 1, device=self.device)

    def build(self) -> Step:
        """Create model and images from random numbers, and return the function that runs one step."""
        if _is_exported(self.model):
            return exported_step(self.model, self.size, self.batch_size)
        device = torch.device(self.device)
        torch.manual_seed(0)
        model = create_for_size(self.model, self.size, features=self.features).train(self.mode == "train")
        with _memory_errors():
            model.to(device)
            model = Prepared(model)() if self.runs_prepared else model
            # A static shape: otherwise the second size of an architecture would run kernels made for any size.
            run = torch.compile(model, dynamic=False) if self.compiled else model
            images = torch.randn(self.batch_size, 3, *self.size, device=device)
            if self.mode == "forward":
                return forward_step(run, images, self.dtype)
            # A label for every pixel, or for the image.
            labelled = images.shape[2:] if getattr(model, "task", "") == "segmentation" else ()
            labels = torch.randint(cast(int, model.num_classes), (self.batch_size, *labelled), device=device)
            optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)

        @_memory_errors()
        def step() -> None:
            with torch.autocast(device.type, torch.bfloat16, enabled=self.dtype == "bfloat16"):
                loss = nn.functional.cross_entropy(run(images), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        return step


def forward_step(run: Callable[..., Any], inputs: torch.Tensor, dtype: Precision) -> Step:
    """Return the function that runs a module, in evaluation mode, once on its inputs."""

    @_memory_errors()
    def step() -> None:
        with torch.inference_mode(), torch.autocast(inputs.device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
            run(inputs)

    return step


def exported_step(path: str, size: tuple[int, int], batch_size: int) -> Step:
    """Open an exported file, and return the function that runs it once on random images of a size."""
    session = open_any(located(path))
    facts, generator = session.metadata, np.random.default_rng(0)
    if facts.input == "float":
        images = generator.standard_normal((batch_size, facts.in_chans, *size), np.float32)
    else:
        images = generator.integers(0, 256, (batch_size, *size, facts.in_chans), np.uint8)
    return partial(session.run, images)


def _is_exported(name: str) -> bool:
    return located(name).suffix in EXPORTED


@contextlib.contextmanager
def _memory_errors() -> Iterator[None]:
    """Turn torch's different words for a lack of memory into one MemoryError."""
    try:
        yield
    except RuntimeError as error:
        # torch has a class of its own for a full GPU; a full main memory is an ordinary RuntimeError.
        if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
            raise MemoryError(str(error)) from error
        raise


def parse_size(text: str) -> tuple[int, int]:
    """Return height and width from `HxW` in pixels, or from one number for a square."""
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise UserError(f"size is {text!r}; write height x width in pixels, such as 224x224 or 800x1280")
    return int(sides[0]), int(sides[-1])


def format_size(size: tuple[int, int]) -> str:
    """Return height and width as `HxW`."""
    return "{}x{}".format(*size)


def create_for_size(name: str, size: tuple[int, int], in_chans: int = 3, features: bool = False) -> nn.Module:
    """Create a model, or the backbone that returns its feature maps, with fresh weights for images of a size."""
    _require_model(name)
    system, backbone = split_system(name)
    config = timm.get_pretrained_cfg(backbone)
    sized: dict[str, Any] = {"img_size": size} if config is not None and config.fixed_input_size else {}
    if not system:
        return timm.create_model(name, in_chans=in_chans, features_only=features, **sized)
    if features:
        raise UserError(f"{name} is no backbone; for its features name {backbone}")
    return gpvit.create_model(name, in_chans=in_chans, backbone_kwargs=sized)


def _require_model(name: str) -> None:
    if split_system(name)[0]:
        find(name)
        return
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"; near it are {', '.join(near)}" if near else "; timm.list_models() names them all"
        raise UserError(f"no model is called {name!r}{hint}")
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        raise UserError(f"{name}: {error} Leave the tag out: the weights do not matter here") from error
