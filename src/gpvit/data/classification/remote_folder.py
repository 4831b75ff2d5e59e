"""A folder in an object store or on a web server: its files are fetched whole, and a bounded part of them is kept."""

import hashlib
import os
import time
import warnings
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

import fsspec
from filelock import FileLock

from gpvit.errors import UserError
from gpvit.io import cache_folder, replacing

_FETCHED_AT_ONCE = 4
_LONGEST_PAUSE_S = 15


def is_remote(root: str | Path) -> bool:
    """Tell addresses, as `s3://bucket/shards`, from paths."""
    return "://" in str(root)


def _refusal(error: Exception) -> type[OSError] | None:
    """Tell an answer, that there is no such file or that it may not be read, from a server that does not answer.

    Whatever a web server's failure is, fsspec calls it a missing file, and keeps what aiohttp said as its cause.
    """
    cause = error.__cause__
    if type(cause).__module__.startswith("aiohttp"):
        refusals = {401: PermissionError, 403: PermissionError, 404: FileNotFoundError, 410: FileNotFoundError}
        return refusals.get(getattr(cause, "status", 0))
    return type(error) if isinstance(error, FileNotFoundError | PermissionError) else None


class RemoteFolder:
    """A folder that fsspec knows, as `s3://bucket/shards`; its files are named by the local paths that they get.

    Any number of processes and threads may ask for the same file: one fetches it, and the others wait. While a server
    does not answer, it is asked again. The files that were used longest ago make room for others.

    Args:
        address: The folder's address; each kind needs its package, as s3fs.
        limit_gb: How much is kept on the disk, in 10^9 bytes.
        patience_s: For how many seconds a server that does not answer is asked again.
    """

    def __init__(self, address: str, limit_gb: float = 50.0, patience_s: float = 600.0) -> None:
        if limit_gb <= 0:
            raise UserError(f"cache_gb {limit_gb}: give more than 0")
        self.address = address.rstrip("/")
        self.limit = limit_gb * 1e9
        self.patience_s = patience_s
        self.folder = cache_folder() / "shards" / hashlib.sha256(self.address.encode()).hexdigest()[:16]
        self._threads: ThreadPoolExecutor | None = None
        self._expected: dict[Path, Future[Path]] = {}

    def state(self, file: Path) -> tuple[int, int]:
        """Give the size of a file, and a number that changes with it."""
        details = self._asked(file, 0)
        version = next(
            (details[key] for key in ("ETag", "etag", "LastModified", "mtime", "md5Hash") if key in details), ""
        )
        return int(details["size"] or 0), int.from_bytes(hashlib.sha256(str(version).encode()).digest()[:7])

    def refresh(self, file: Path) -> None:
        """Fetch a file anew, or remove the local one where the folder has none; a silent server is an error."""
        try:
            self.state(file)
            self.fetch(file, anew=True)
        except FileNotFoundError:
            file.unlink(missing_ok=True)

    def fetch(self, file: Path, anew: bool = False) -> Path:
        """Return a file once it is on the disk, fetched where it is not, or in any case where that is asked `anew`.

        Raises:
            FileNotFoundError: The folder has no such file.
            OSError: The server does not answer, or refuses.
        """
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{file}.lock"):
            while True:
                if anew or not file.exists():
                    self._make_room(int(self._asked(file, self.patience_s)["size"] or 0))
                    self._patiently(file, partial(self._download, file), self.patience_s)
                    anew = False
                with suppress(FileNotFoundError):  # it made room for another just now
                    os.utime(file)
                    return file

    def open(self, file: Path) -> IO[bytes]:
        """Open a file, fetched if need be; what is open stays readable when it makes room for others."""
        while True:
            self.fetch(file)
            with suppress(FileNotFoundError):  # it made room for another just now
                return file.open("rb")

    def expect(self, files: Iterable[Path]) -> None:
        """Fetch files in the background; what goes wrong there is told by `fetch`."""
        self._threads = self._threads or ThreadPoolExecutor(_FETCHED_AT_ONCE, "gpvit-fetch")
        self._expected = {file: future for file, future in self._expected.items() if not future.done()}
        for file in files:
            if file not in self._expected and not file.exists():
                self._expected[file] = self._threads.submit(self.fetch, file)

    def _asked(self, file: Path, patience_s: float) -> dict[str, Any]:
        return self._patiently(file, self._info, patience_s)

    @staticmethod
    def _info(system: Any, address: str) -> dict[str, Any]:
        system.invalidate_cache()  # of listings: a file may have changed since
        return system.info(address)

    @staticmethod
    def _download(file: Path, system: Any, address: str) -> None:
        with replacing(file) as path:
            system.get_file(address, str(path))

    def _patiently(self, file: Path, ask: Any, patience_s: float) -> Any:
        """Ask a server, again and again while it does not answer."""
        address, end, pause = f"{self.address}/{file.name}", time.monotonic() + patience_s, 0.5
        while True:
            try:
                return ask(*fsspec.url_to_fs(address))
            except (ImportError, ValueError) as error:
                raise UserError(f"{address} cannot be opened: {error}") from error
            except Exception as error:  # each kind of server has errors of its own
                if refused := _refusal(error):
                    raise refused(f"{address}: {error or 'no such file'}") from error
                if time.monotonic() + pause > end:
                    raise OSError(f"{address} cannot be read: {error}") from error
                warnings.warn(f"{address} does not answer ({error}); it is asked again", stacklevel=2)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _make_room(self, size: int) -> None:
        """Remove the files that were used longest ago, until one of `size` bytes fits."""
        used = []
        for path in self.folder.glob("*.tar"):
            with suppress(FileNotFoundError):
                status = path.stat()
                used.append((status.st_mtime_ns, status.st_size, path))
        total = size + sum(length for _, length, _ in used)
        for _, length, path in sorted(used):
            if total <= self.limit:
                return
            with suppress(OSError):  # removed by another process, or open on a system that keeps open files
                path.unlink()
            total -= length

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_threads": None, "_expected": {}}
