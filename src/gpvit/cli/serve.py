"""The verb `gpvit serve`."""

import os

from gpvit.errors import UserError
from gpvit.serve.messages import Limits, Setup, names_of


def serve(
    models: list[str],
    host: str = "127.0.0.1",
    port: int = 8000,
    device: str | None = None,
    workers: int = 1,
    batch_size: int | None = None,
    wait_ms: float = 5.0,
    max_bytes: int = Limits.bytes,
    max_pixels: int = Limits.pixels,
    max_parts: int = Limits.parts,
    time_limit: float = Limits.seconds,
    queue: int = Limits.queue,
) -> None:
    """Answer images over HTTP, with a page to try it at /, until the process is told to end.

    With GPVIT_API_KEY in the environment, clients must show that key.

    Args:
        models: Names of models such as gpvit_l1.in1k, paths of checkpoints or of exported files, or folders of runs.
            Clients choose by ?model=NAME, of a path its last part; the first is the default.
        host: Address to listen on; the default is open to this machine alone, 0.0.0.0 to the network.
        port: Port to listen on; 0 takes a free one, which the log names.
        device: Where to compute, such as cpu or cuda (default an accelerator if there is one).
        workers: Processes that hold the models; several share the cores, or a GPU.
        batch_size: Images that go through a model at once (default 16 for classifiers, else 1).
        wait_ms: Longest time that an image waits for others of its batch.
        max_bytes: Bytes of a request.
        max_pixels: Pixels of an image.
        max_parts: Images of a request.
        time_limit: Seconds for a body to arrive, and again for the answer.
        queue: Images that wait; above that, clients are asked to try again.
    """
    try:
        from gpvit.serve.app import serve as run
    except ImportError as error:
        raise UserError(f"gpvit serve needs a web server: pip install 'gpvit[serve]' ({error})") from error
    if not (0 <= port < 2**16 and workers >= 1 and 0 <= wait_ms <= 1000):
        raise UserError(f"port {port}, workers {workers}, wait_ms {wait_ms}: give 0..65535, 1 or more, and 0..1000")
    limits = Limits(max_bytes, max_pixels, max_parts, time_limit, queue)
    setup = Setup(names_of(models), device, batch_size, workers, limits)
    run(setup, host, port, wait_ms / 1000, os.environ.get("GPVIT_API_KEY", "").strip())
