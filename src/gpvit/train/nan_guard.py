"""Losses that are not finite: reported with the images that gave them."""

from typing import Any

from gpvit.io import write_text
from gpvit.train.failures import TrainingError, how_to_resume
from gpvit.train.launch import gather

_SHOWN = 3  # images named in a message


def report_not_finite(run: Any) -> None:
    """Say which losses of the step that was sent last are not finite, in all processes, and of which images.

    Args:
        run: A `gpvit.train.loop.Run`, which counts this step among those that are skipped.

    Raises:
        TrainingError: If more are skipped than may be.
    """
    step, taken = run.taken
    bad = [(index, losses["loss"].item()) for index, losses in taken if not losses["loss"].isfinite()]
    names = [name for index, _ in bad for name in _names(run, step, index)]
    everywhere = gather(run.fabric, (run.fabric.global_rank, bad, names))
    messages = []
    for rank, bad, names in everywhere:
        if bad:
            where = f" of process {rank}" if run.fabric.world_size > 1 else ""
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            images = f", of the images {', '.join(names[:_SHOWN])}{more}" if names else ""
            messages.append(f"the loss{where} is {bad[0][1]} at step {step + 1}{images}")
    message, limit = "; ".join(messages), run.config.max_skipped_steps
    if run.skipped <= limit:
        run.log.print(f"{message}: skipped, {run.skipped} of at most {limit}")
        return
    listed = run.folder / "not_finite.txt"
    if run.fabric.is_global_zero:
        write_text(listed, "".join(f"{name}\n" for _, _, names in everywhere for name in names))
    raise TrainingError(
        f"{message} (all in {listed}){f'; {limit} steps were skipped before' if limit else ''}. Look at these images; "
        "lower optim.lr, or clip gradients: --train.clip 1.0; or skip some: --train.max_skipped_steps 10.\n"
        + how_to_resume(run.folder)
    )


def _names(run: Any, step: int, index: int) -> list[str]:
    """Name the images of a batch of this process, by its number in its epoch; none where the loader cannot tell."""
    batch = getattr(run.loader.batch_sampler, "batch", None)
    name = getattr(run.loader.dataset, "name", "sample {}".format)
    return [] if batch is None else [name(i) for i in batch(step // run.epoch_steps, index)]
