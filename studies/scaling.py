"""Time and memory of blocks and models from small images to large ones, as far as time and memory reach."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import nn

from gpvit.errors import UserError
from gpvit.models.backbone import STRIDE
from gpvit.models.variants import build_block
from gpvit.profile.cost import profile_model
from gpvit.profile.measure import Measurement, Step, measure, measure_memory
from gpvit.profile.workload import Precision, create_for_size, forward_step
from studies.report import OUT_OF_MEMORY

DIM = 216
SIZES = (224, 336, 448, 560, 672, 784, 1008, 1232, 1568, 2048)
"""Sides in pixels; all but the last make whole windows of 7 x 7 tokens, which are then not padded."""

QUICK_SIZES = (64, 128)
_CASE_S = 15.0  # a case is not run again after so many seconds
# A step this small brings code, threads and the libraries' own buffers into memory, which no image is to blame for.
_WARM_UP_SIZE = 64


@dataclass(frozen=True)
class Subject:
    """A block of GPViT-L1's width, or a model, with fresh weights; it is given one square image.

    Args:
        label: What it is called; of a model, its name.
        block: Kind and arguments of the block, as in a layout; None for a model.
        patch: Pixels of a token's side.
    """

    label: str
    block: Mapping[str, Any] | None = field(default=None, hash=False)
    patch: int = STRIDE

    def tokens(self, size: int) -> int:
        """Return how many tokens an image of a side in pixels has."""
        return (size // self.patch) ** 2

    def create(self) -> nn.Module:
        """Create it, in evaluation mode."""
        torch.manual_seed(0)
        model = create_for_size(self.label, (224, 224)) if self.block is None else build_block(self.block, dim=DIM)
        return model.eval()

    def inputs(self, size: int, device: str) -> torch.Tensor:
        """Draw an image ``(1, 3, size, size)``, or for a block its tokens ``(1, H, W, C)``."""
        grid = size // self.patch
        shape = (1, 3, size, size) if self.block is None else (1, grid, grid, DIM)
        return torch.randn(shape, device=device)

    def macs(self, size: int) -> int:
        """Count the multiply-accumulates of a forward pass, attention products included."""
        with torch.device("meta"):
            _, channels, *sides = self.inputs(size, "meta").shape  # what profile_model takes for channels may be rows
            return profile_model(self.create(), (sides[0], sides[1]), channels).macs


BLOCKS = (
    Subject("GP, M = 64", {"kind": "group", "num_groups": 64, "num_heads": 6}),
    Subject("GP, M = 16", {"kind": "group", "num_groups": 16, "num_heads": 6}),
    Subject("local stripes", {"kind": "local", "num_heads": 12}),
    Subject("windows", {"kind": "window", "num_heads": 12}),
    Subject("global attention", {"kind": "global", "num_heads": 6}),
)
"""Heads are GPViT-L1's; global attention stands in the place of group propagation and has as many as that."""

MODELS = (Subject("gpvit_l1"), Subject("vit_d216_p16", patch=16), Subject("vit_d216_p8"))
"""The first is the one that the others are compared with."""

QUICK_MODELS = (Subject("gpvit_nano"), MODELS[1])


@dataclass(frozen=True)
class Case:
    """A subject on an image of a side in pixels; `faults` counts the pages that the system hands out for each step."""

    subject: Subject
    size: int
    dtype: Precision = "float32"
    device: str = "cpu"
    faults: list[int] = field(default_factory=list, compare=False)
    compiled = False

    def __str__(self) -> str:
        return f"{self.subject.label}, {self.size} px"

    def build(self) -> Step:
        """Make the step that runs the subject once, for inference."""
        inputs = self.subject.inputs(self.size, self.device)
        run = forward_step(_module(self.subject, self.device), inputs, self.dtype)

        def step() -> None:
            before = _page_faults()
            run()
            self.faults.append(_page_faults() - before)

        return step


@cache
def _module(subject: Subject, device: str) -> nn.Module:
    return subject.create().to(device)


def _page_faults() -> int:
    """Return how many pages this process was handed so far without reading a disk; 0 where nobody counts."""
    if sys.platform == "win32":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def measure_scaling(
    subjects: Sequence[Subject],
    sizes: Sequence[int] = SIZES,
    rounds: int = 5,
    time_limit_s: float = 45.0,
    dtype: Precision = "float32",
    device: str = "cpu",
    progress: bool = False,
    make: Callable[..., Any] = Case,
) -> list[dict[str, Any]]:
    """Measure subjects at growing sizes; each goes as far as time and memory reach.

    Memory is that of one step in a process of its own. Time is taken in rounds, of all subjects and sizes in turn,
    after a step that only warms up.

    Args:
        subjects: What to measure.
        sizes: Sides of the images in pixels, multiples of 16, growing.
        rounds: How often each case is timed; long ones less often.
        time_limit_s: A size whose step is expected to take longer ends its series.
        dtype: Precision.
        device: `cpu` or `cuda`.
        progress: Whether to show a progress bar on standard error.
        make: Makes a case of subject, size, precision and device.

    Returns:
        A row for each subject and size; the last of a series may say in the place of milliseconds why it ends.

    Raises:
        ValueError: If rounds, time limit or sizes are out of range.
    """
    if rounds < 1 or not time_limit_s > 0:
        raise UserError(f"rounds is {rounds} and the time limit {time_limit_s} s; give at least 1 and more than 0")
    if not sizes or list(sizes) != sorted(set(sizes)) or min(sizes) < 32 or any(size % 16 for size in sizes):
        raise UserError(f"sizes are {tuple(sizes)}; give growing multiples of 16 px from 32 on")
    runs: list[Measurement] = []
    memories, ends = [], {}
    for subject in track(subjects, "first steps", console=Console(stderr=True), disable=not progress):
        firsts: list[tuple[int, float]] = []
        for size in sizes:
            case = make(subject, size, dtype, device)
            expected = expected_seconds(firsts, size)
            if expected > time_limit_s:
                ends[subject] = size, f"not run: about {expected:.0f} s expected"
                break
            try:
                memory = measure_memory(case.build, small=replace(case, size=_WARM_UP_SIZE).build, device=device)
            except MemoryError:
                ends[subject] = size, OUT_OF_MEMORY
                break
            firsts.append((size, memory.seconds[0]))
            memories.append(memory.added_mib)
            runs.append(Measurement(case, 1, _CASE_S))
    measure(runs, rounds, progress=progress)
    rows = []
    for subject in subjects:
        for run, memory_mib in zip(runs, memories, strict=True):
            if run.case.subject == subject and run.out_of_memory:  # it fits into a process of its own alone
                ends[subject] = run.case.size, OUT_OF_MEMORY
                break
            if run.case.subject == subject:
                rows.append(_row(run, memory_mib))
        if subject in ends:
            rows.append({"what": subject.label, "size": ends[subject][0], "ms": ends[subject][1]})
    return rows


def expected_seconds(timed: Sequence[tuple[int, float]], size: int) -> float:
    """Return how long a step is expected to take, from how its duration grew over the last two sizes.

    Args:
        timed: Sides in pixels, growing, with the seconds of a step; without any, nothing is expected.
        size: Side in pixels, beyond them.
    """
    if not timed:
        return 0.0
    last, seconds = timed[-1]
    power = 2.0  # of the side: in proportion to the tokens
    if len(timed) > 1:
        before, seconds_before = timed[-2]
        power = float(np.log(seconds / seconds_before) / np.log(last / before))
    # Nothing here grows faster than the square of the tokens, or in the long run slower than they do.
    return float(seconds * (size / last) ** min(max(power, 2.0), 4.0))


def _row(run: Measurement, memory_mib: float | None) -> dict[str, Any]:
    case, seconds, gmacs = run.case, run.seconds, run.case.subject.macs(run.case.size) / 1e9
    return {
        "what": case.subject.label,
        "size": case.size,
        "tokens": case.subject.tokens(case.size),
        "gmacs": gmacs,
        "ms": 1e3 * float(np.median(seconds)),
        "iqr_ms": 1e3 * float(np.subtract(*np.percentile(seconds, [75, 25]))) if len(seconds) > 1 else None,
        "runs": len(seconds),
        "gmacs_per_second": gmacs / float(np.median(seconds)),
        "page_faults": None if sys.platform == "win32" else float(np.median(case.faults[1:] or case.faults)),
        "memory_mib": memory_mib,
    }
