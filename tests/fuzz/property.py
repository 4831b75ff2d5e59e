"""What must come of any input: an answer, or an error of ours that names the file, in bounds, and no file lost."""

import faulthandler
import resource
import signal
import sys
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from hypothesis import currently_in_test_context, event

from gpvit.devices import status_bytes
from gpvit.errors import UserError

SECONDS = 20  # of this process's work, an example
BYTES = 3 * 2**30  # that an example may add: a Pillow image of the largest size, and what converts it


class TookTooLong(BaseException):  # no `except Exception` takes it for damage
    pass


def holds(call: Callable[[], Any], folder: Path, *names: str, writes: tuple[str, ...] = ()) -> Any:
    """Call what reads files of a folder; a refusal names one of them, or one of `names`.

    No file may be changed or lost but those that match `writes`.
    """
    before = _content(folder, writes)
    known = [*names, str(folder), *(Path(name).name for name in before)]
    answer = refusal = None
    with _in_bounds():
        try:
            answer = call()
            _count("answer")
        except (UserError, OSError) as error:
            _count(type(error).__name__)
            refusal = str(error)
    assert refusal is None or any(name in refusal for name in known), f"no file is named in {refusal!r}"
    assert before.items() <= _content(folder, ()).items(), "a file was changed or lost"
    return answer


def _count(outcome: str) -> None:
    if currently_in_test_context():
        event(outcome)  # --hypothesis-show-statistics prints how many there were


@contextmanager
def _in_bounds():
    """Raise where time or memory run out; what hangs in C code ends the process, which tells where."""

    def stop(*_: object) -> None:
        raise TookTooLong(f"more than {SECONDS} s")

    def restart_peak() -> int:
        Path("/proc/self/clear_refs").write_text("5")
        return status_bytes("VmRSS")

    measured = sys.platform == "linux"
    start = restart_peak() if measured else 0
    handler = signal.signal(signal.SIGPROF, stop)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    try:
        if measured:  # far beyond the bound, to spare the machine
            resource.setrlimit(resource.RLIMIT_AS, (status_bytes("VmSize") + 4 * BYTES, limits[1]))
        faulthandler.dump_traceback_later(30 * SECONDS, exit=True, file=sys.__stderr__)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, handler)
        faulthandler.cancel_dump_traceback_later()
        resource.setrlimit(resource.RLIMIT_AS, limits)
    added = status_bytes("VmHWM") - start if measured else 0
    assert added < BYTES, f"took {added / 2**30:.1f} GiB"


def _content(folder: Path, apart: tuple[str, ...]) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not any(fnmatch(path.name, pattern) for pattern in apart)
    }
