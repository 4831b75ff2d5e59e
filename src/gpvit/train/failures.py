"""What ends a run, in words: losses that are not finite, too little memory, loader processes that are gone."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only

from gpvit.errors import UserError
from gpvit.io import write_text
from gpvit.train.processes import gather

_SHOWN = 3  # images named in a message
_WORKER = (
    "a loader process is gone, or shared memory is full: lower data.num_workers, each of which holds two batches and "
    "its own copy of what was read (0 loads in this process); in a container, give /dev/shm more room: docker run "
    "--shm-size=8g, or --ipc=host. A process that was killed tells of too little memory (see dmesg)."
)
_MEMORY = (
    "memory ran out with batches of {batch_size} images on {device}. What helps, alone or together:\n"
    "  1. smaller batches, as many images a step: half of data.batch_size, twice train.accumulate\n"
    "  2. --train.grad_checkpointing true: about 70 % less for activations, a third more time\n"
    "  3. --train.precision bf16-mixed: 20 to 40 % less for activations; faster on GPUs, too"
)
_ADVICE = {  # by what torch's messages have in common, tried in this order
    r"DataLoader worker \(pid|MemoryError in DataLoader worker|torch_shm_manager|"
    r"unable to (mmap|write to file|\w+ shared memory)": _WORKER,
    r"not enough memory|can't allocate memory|[Oo]ut of memory|_STATUS_ALLOC_FAILED|MemoryError": _MEMORY,
}


class TrainingError(UserError):
    """Ends a run with a message that says what happened, and what helps."""


@contextmanager
def explained(run: Any) -> Iterator[None]:
    """Say what helps where memory runs out, or a loader process is gone; any other error passes as it is."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        text = f"{type(error).__name__}: {error} {error.__cause__ or ''}"  # torch names a worker's signal in the cause
        advice = next((advice for pattern, advice in _ADVICE.items() if re.search(pattern, text)), None)
        if advice is None:
            raise
        advice = advice.format(batch_size=run.batch_size, device=run.fabric.device)
        reason = f"{' '.join(text.split())[:200]} (step {run.step + 1})"
        raise TrainingError(f"{advice}\n{reason}\n{how_to_resume(run.folder)}") from error


def how_to_resume(folder: Path) -> str:
    """Name the last whole checkpoint of a run, and what resumes from it."""
    for name in ("last.ckpt", "previous.ckpt"):
        if (folder / name).is_file():
            return f"The last good checkpoint is {folder / name}: gpvit train --resume {folder} continues from it."
    return f"There is no checkpoint in {folder} yet."


def report_not_finite(run: Any) -> None:
    """Say which losses of the last step are not finite, in all processes, and of which images, or end the run."""
    step, taken = run.taken
    sampler, dataset = run.loader.batch_sampler, run.loader.dataset
    own, names, several = "", [], run.fabric.world_size > 1
    for index, losses in taken:
        if not losses["loss"].isfinite():
            images = sampler.batch(step // run.epoch_steps, index) if hasattr(sampler, "batch") else []
            names += [getattr(dataset, "name", "sample {}".format)(image) for image in images]
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            own = f"the loss{f' of process {run.fabric.global_rank}' if several else ''} is {losses['loss'].item()} at "
            own += f"step {step + 1}, of the images {', '.join(names[:_SHOWN])}{more}"
    everywhere = gather(run.fabric, (own, names))
    message, limit = "; ".join(own for own, _ in everywhere if own), run.config.max_skipped_steps
    if run.skipped <= limit:
        rank_zero_only(print)(f"{message}: skipped, {run.skipped} of at most {limit}", flush=True)
        return
    listed = run.folder / "not_finite.txt"
    if run.fabric.is_global_zero:
        write_text(listed, "".join(f"{name}\n" for _, names in everywhere for name in names))
    before = f"; {limit} steps were skipped before" if limit else ""
    raise TrainingError(
        f"{message} (all in {listed}){before}. Look at these images; lower optim.lr, or clip gradients: --train.clip "
        f"1.0; or skip some such steps: --train.max_skipped_steps 10.\n{how_to_resume(run.folder)}"
    )
