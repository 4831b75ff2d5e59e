"""What a benchmark times: one model in one setting, made into a plain function to call."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import timm
import torch
from torch import nn

import gpvit
from gpvit.devices import choose_device, require_compiler
from gpvit.errors import UserError
from gpvit.profile.measure import Memory, Step, measure_memory, memory_errors
from gpvit.zoo.catalog import find, split_system

Mode = Literal["forward", "train"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Case:
    """One model in one setting.

    Args:
        model: Any timm model name, or one of this package.
        size: Image height and width in pixels.
        batch_size: Images per step.
        mode: `forward` is inference; `train` is forward, backward and one AdamW step.
        features: Run the model as a backbone that returns its feature maps (timm's ``features_only``).
        compiled: Whether torch.compile turns the model into kernels for this one shape first.
        dtype: `float32`, or `bfloat16` for autocast over float32 weights.
        device: `cpu` or `cuda`, with an index if need be.
        baseline: Name of the model that this one is compared with in the same setting, or None.
    """

    model: str
    size: tuple[int, int] = (224, 224)
    batch_size: int = 8
    mode: Mode = "forward"
    features: bool = False
    compiled: bool = False
    dtype: Precision = "float32"
    device: str = "cpu"
    baseline: str | None = None

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise UserError(f"mode is {self.mode!r}; choose one of {get_args(Mode)}")
        if self.dtype not in get_args(Precision):
            raise UserError(f"dtype is {self.dtype!r}; choose one of {get_args(Precision)}")
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

    def __str__(self) -> str:
        return f"{self.model} ({self.setting})"

    def check(self) -> None:
        """Refuse a model, a device or a compilation that there is not here, which is quick to tell."""
        _require_model(self.model)
        choose_device(self.device)
        if self.compiled:
            require_compiler()

    def memory(self) -> Memory:
        """Measure the memory of the case in a process of its own."""
        # AdamW allocates its state at the end of a step, so the second one is the first with everything in place.
        return measure_memory(self.build, steps=2 if self.mode == "train" else 1, device=self.device)

    def build(self) -> Step:
        """Create model and images from random numbers, and return the function that runs one step."""
        device = torch.device(self.device)
        torch.manual_seed(0)
        model = create_for_size(self.model, self.size, features=self.features).train(self.mode == "train")
        with memory_errors():
            model.to(device)
            # A static shape: otherwise the second size of an architecture would run kernels made for any size.
            run = torch.compile(model, dynamic=False) if self.compiled else model
            images = torch.randn(self.batch_size, 3, *self.size, device=device)
            if self.mode == "forward":
                return forward_step(run, images, self.dtype)
            # A label for every pixel, or for the image.
            labelled = images.shape[2:] if getattr(model, "task", "") == "segmentation" else ()
            labels = torch.randint(cast(int, model.num_classes), (self.batch_size, *labelled), device=device)
            optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)

        @memory_errors()
        def step() -> None:
            with torch.autocast(device.type, torch.bfloat16, enabled=self.dtype == "bfloat16"):
                loss = nn.functional.cross_entropy(run(images), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        return step


def forward_step(run: Callable[..., Any], inputs: torch.Tensor, dtype: Precision) -> Step:
    """Return the function that runs a module, in evaluation mode, once on its inputs."""

    @memory_errors()
    def step() -> None:
        with torch.inference_mode(), torch.autocast(inputs.device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
            run(inputs)

    return step


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
    """Create a model with fresh weights that accepts images of a size.

    Args:
        name: The name of a timm model, or of one of this package.
        size: Image height and width in pixels.
        in_chans: Image channels.
        features: Whether to create the backbone that returns its feature maps (timm's ``features_only``).

    Raises:
        ValueError: If no model has this name, or features are asked of one that is no backbone.
    """
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
