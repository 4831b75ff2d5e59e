"""What a benchmark times: one model in one setting, made into a plain function to call."""

import contextlib
import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import timm
import torch
from torch import nn

from gpvit.devices import choose_device, require_compiler
from gpvit.errors import UserError
from gpvit.zoo.catalog import find, split_system
from gpvit.zoo.factory import create_model

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
        baseline: Name of the model that this one is set against in the same setting, or None.
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


def parse_size(text: str) -> tuple[int, int]:
    """Return height and width from text.

    Args:
        text: `HxW` in pixels, or one number for a square.

    Raises:
        ValueError: If the text is neither.
    """
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise UserError(f"size is {text!r}; write height x width in pixels, such as 224x224 or 800x1280")
    return int(sides[0]), int(sides[-1])


def format_size(size: tuple[int, int]) -> str:
    """Return height and width as `HxW`.

    Args:
        size: Height and width.
    """
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
    if system:
        if features:
            raise UserError(f"{name} is no backbone; for its features name {backbone}")
        return create_model(name, in_chans=in_chans, backbone_kwargs=_size_argument(backbone, size))
    return timm.create_model(name, in_chans=in_chans, features_only=features, **_size_argument(name, size))


def _size_argument(name: str, size: tuple[int, int]) -> dict[str, Any]:
    config = timm.get_pretrained_cfg(name)
    return {"img_size": size} if config is not None and config.fixed_input_size else {}


def check(case: Case) -> None:
    """Raise if a case cannot be run here at all, which is quick to tell.

    Args:
        case: What is to be run.

    Raises:
        ValueError: If the model or the device does not exist.
        FileNotFoundError: If the case is compiled and there is no compiler.
    """
    _require_model(case.model)
    choose_device(case.device)
    if case.compiled:
        require_compiler()


def build(case: Case) -> Callable[[], None]:
    """Return the function that runs one step of a case and waits for its end.

    The returned function raises MemoryError where the step does not fit into memory.

    Args:
        case: What to run, as passed by `check`; weights and inputs are random.

    Raises:
        MemoryError: If model and inputs do not fit into memory.
    """
    device = torch.device(case.device)
    torch.manual_seed(0)
    model = create_for_size(case.model, case.size, features=case.features).train(case.mode == "train")
    with memory_errors():
        model.to(device)
        images = torch.randn(case.batch_size, 3, *case.size, device=device)
        step = _training_step(case, model, images) if case.mode == "train" else _forward_step(case, model, images)

    @memory_errors()
    def finished_step() -> None:
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return finished_step


def _forward_step(case: Case, model: nn.Module, images: torch.Tensor) -> Callable[[], None]:
    run = _compiled(model) if case.compiled else model

    def step() -> None:
        with torch.inference_mode(), _autocast(case, images.device):
            run(images)

    return step


def _training_step(case: Case, model: nn.Module, images: torch.Tensor) -> Callable[[], None]:
    run = _compiled(model) if case.compiled else model
    labelled = images.shape[2:] if getattr(model, "task", "") == "segmentation" else ()  # every pixel, or the image
    labels = torch.randint(cast(int, model.num_classes), (case.batch_size, *labelled), device=images.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)

    def step() -> None:
        with _autocast(case, images.device):
            loss = nn.functional.cross_entropy(run(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _autocast(case: Case, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=case.dtype == "bfloat16")


def _compiled(model: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    # A static shape: otherwise the second size of one architecture would be timed with kernels made for any size.
    return torch.compile(model, dynamic=False)


@contextlib.contextmanager
def memory_errors() -> Iterator[None]:
    """Turn torch's different words for a lack of memory into one MemoryError."""
    try:
        yield
    except RuntimeError as error:
        # torch has a class of its own for a full GPU; a full main memory is an ordinary RuntimeError.
        if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
            raise MemoryError(str(error)) from error
        raise


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
