"""Predicts on the machines of a Ray cluster, with Ray Data: `gpvit predict --ray ADDRESS`, of `gpvit[cluster]`.

Ray deals the images out, repeats those that a lost machine had, and brings the answers to this process, which writes
each once, into a job's folder (see `gpvit.inference.job`).
"""

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from typing import Any

from gpvit.errors import UserError
from gpvit.inference.batch import BatchPredictor, Plan
from gpvit.inference.inputs import Images
from gpvit.inference.launch import open_job, report_error
from gpvit.inference.loading import in_batches

_LARGEST_BLOCK = 128  # images that are dealt out, and lost with a machine, together
_BLOCKS_PER_PROCESS = 4  # at least, so that a fast machine gets more of them
_RETRIES = 3  # of a block whose process dies; then the others come first, and it is cut into smaller ones


def predict_on_cluster(plan: Plan, address: str, images: Images) -> None:
    """Predict what is left of a job on all machines of a cluster, on a GPU for each process where there are any.

    Every machine needs this package, and the model and images under the same paths: on a shared file system, or as
    addresses that fsspec knows, such as `s3://bucket/photos`. Annotated images and label maps are written by the
    machines, into the same folder.

    The plan's `workers` are the threads of each process that decode, and so many CPUs it takes. `address` is the
    cluster's, as `ray.init` takes it; `auto` finds the one that this machine belongs to.
    """
    try:
        import ray
    except ImportError:
        raise UserError("--ray needs Ray Data: pip install 'gpvit[cluster]'") from None
    job = open_job(plan, images)
    remaining = job.remaining()
    if not remaining:
        return
    # Ray prints what becomes of its nodes on stdout, where a caller's results belong, as long as it is connected
    with redirect_stdout(sys.stderr), ray.init(address, log_to_driver=False), job.writer("ray") as write:
        ray.data.DataContext.get_current().max_errored_blocks = -1  # the others are to be answered all the same
        while remaining:
            answered = set()
            for line in _answers(plan, remaining):
                report_error(line)
                write(line)
                answered.add(line["index"])
            if not answered:  # what is left kills any process
                return
            remaining = [index for index in remaining if index not in answered]


def _answers(plan: Plan, indices: list[int]) -> Iterator[dict[str, Any]]:
    """Deal images out to the machines, and give the lines of those that are answered, in any order."""
    import ray

    resources = ray.cluster_resources()
    workers, gpus = plan.workers or 1, 1 if resources.get("GPU") and plan.device != "cpu" else 0
    processes = int(resources["GPU"] if gpus else max(resources["CPU"] // workers, 1))
    size = max(1, min(_LARGEST_BLOCK, len(indices) // (_BLOCKS_PER_PROCESS * processes)))
    blocks = [{"indices": json.dumps(block)} for block in in_batches(indices, size)]
    answered = ray.data.from_items(blocks, override_num_blocks=len(blocks)).map(
        _Process,  # type: ignore[arg-type]  # Ray makes objects of the class
        fn_constructor_args=(plan,),
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=processes),
        num_cpus=workers,
        num_gpus=gpus,
        ray_remote_args_fn=lambda: {"max_restarts": _RETRIES, "max_task_retries": _RETRIES},
    )
    for row in answered.iter_rows():
        yield from json.loads(row["lines"])


class _Process:
    """Predicts blocks of images in a process of the cluster; threads decode, draw and write."""

    def __init__(self, plan: Plan) -> None:
        self.batches = BatchPredictor(plan, plan.device)
        self.loader = self.batches.predictor.loader(self.batches.images.__getitem__)
        self.threads = ThreadPoolExecutor(plan.workers or 1)

    def __call__(self, block: dict[str, Any]) -> dict[str, Any]:
        loaded = self.threads.map(self.loader.__getitem__, json.loads(block["indices"]))
        predictor = self.batches.predictor
        outcomes = (outcome for batch in in_batches(loaded, predictor.batch_size) for outcome in predictor.infer(batch))
        return {"lines": json.dumps([answer.line for answer in self.threads.map(self.batches.answer, outcomes)])}
