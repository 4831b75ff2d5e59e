"""How metadata and digests lie in exported files: nothing of a file reaches a runtime before its digest is checked."""

import hashlib
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from gpvit.errors import UserError
from gpvit.runtime.metadata import Metadata
from gpvit.runtime.protobuf import Field, field, fields, refuse_other_files

_KEY, _DIGEST = b"gpvit", b"gpvit_sha256"  # of metadata_props
_PROPERTY, _NAME, _VALUE = 14, 1, 2  # fields of ONNX: ModelProto.metadata_props, and what each of them holds
_COMMENT = re.compile(rb"\n<!-- gpvit (\{.*\}) sha256:([0-9a-f]{64}) -->\n\Z")
_MEMBER = "extra/gpvit.json"  # where torch.export.save puts what is not its own
_SEAL = b"gpvit sha256:"
_HEX = 64


def seal_onnx(core: bytes, metadata: Metadata) -> bytes:
    """Append metadata, and the digest of all before, to a serialized ONNX model; its own fields stay as they are."""
    text = metadata.to_json().encode()
    return core + _property(_KEY, text) + _property(_DIGEST, _digest(core, text))


def read_onnx(path: str | Path) -> tuple[Metadata, bytes]:
    """Read what :func:`seal_onnx` made: the metadata and the model.

    Raises:
        FileNotFoundError: There is no such file.
        UserError: The file is no export of ours, is damaged, or names other files.
    """
    content = _read(path)
    with _damage(path):
        last = list(fields(memoryview(content)))[-2:]
        (name, text), (digest_name, digest) = map(_entry, last) if len(last) == 2 else ((b"", b""),) * 2
        if (name, digest_name) != (_KEY, _DIGEST):
            raise _foreign(path)
        core = content[: last[0].start]
        _compare(path, digest, core, text)
        refuse_other_files(memoryview(core))
    return Metadata.from_json(text, str(path)), core


def seal_openvino(xml: bytes, weights: bytes, metadata: Metadata) -> bytes:
    """Append metadata, and a digest that holds for the `.bin` too, to the `.xml` of OpenVINO, as a comment."""
    text = metadata.to_json().replace("--", "-\\u002d").encode()  # which no comment may hold
    return xml + b"\n<!-- gpvit %s sha256:%s -->\n" % (text, _digest(xml, weights, text))


def read_openvino(path: str | Path) -> tuple[Metadata, bytes, bytes]:
    """Read what :func:`seal_openvino` made, and the `.bin` beside it: the metadata, the graph and its weights.

    Raises:
        FileNotFoundError: One of the two files is missing.
        UserError: They are no export of ours, are damaged, or do not belong together.
    """
    content, weights = _read(path), _read(Path(path).with_suffix(".bin"))
    if (found := _COMMENT.search(content)) is None:
        raise _foreign(path)
    text, digest = found.groups()
    xml = content[: found.start()]
    _compare(path, digest, xml, weights, text)
    return Metadata.from_json(text, str(path)), xml, weights


def seal_pt2(core: bytes, metadata: Metadata) -> bytes:
    """Add metadata to the archive that `torch.export.save` wrote, and the digest of all before as its last bytes."""
    buffer = BytesIO(core)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(_member(archive), metadata.to_json())
        archive.comment = _SEAL + b"0" * _HEX
    sealed = buffer.getvalue()[:-_HEX]
    return sealed + _digest(sealed)


def read_pt2(path: str | Path) -> tuple[Metadata, bytes]:
    """Read what :func:`seal_pt2` made: the metadata, and the archive as it is.

    Raises:
        FileNotFoundError: There is no such file.
        UserError: The file is no export of ours, or is damaged.
    """
    content = _read(path)
    with _damage(path), zipfile.ZipFile(BytesIO(content)) as archive:
        if not archive.comment.startswith(_SEAL) or len(archive.comment) != len(_SEAL) + _HEX:
            raise _foreign(path)
        _compare(path, content[-_HEX:], content[:-_HEX])
        text = archive.read(_member(archive))
    return Metadata.from_json(text, str(path)), content


def read_metadata(path: Path) -> Metadata:
    """Read what an exported file of any format says of its model, its digest checked; no runtime is needed."""
    readers: dict[str, Callable[[Path], tuple[Any, ...]]] = {
        ".onnx": read_onnx,
        ".xml": read_openvino,
        ".pt2": read_pt2,
    }
    metadata: Metadata = readers[path.suffix](path)[0]
    return metadata


def _member(archive: zipfile.ZipFile) -> str:
    """Name the member of metadata, in the one folder that torch allows at the top."""
    return f"{archive.namelist()[0].partition('/')[0]}/{_MEMBER}"


def _property(name: bytes, value: bytes) -> bytes:
    return field(_PROPERTY, field(_NAME, name) + field(_VALUE, value))


def _entry(last: Field) -> tuple[bytes, bytes]:
    """Return name and value of an entry of ONNX's metadata; empty of other fields."""
    if last.number != _PROPERTY or not isinstance(last.value, memoryview):
        return b"", b""
    own = {number: bytes(value) for number, value, _ in fields(last.value) if isinstance(value, memoryview)}
    return own.get(_NAME, b""), own.get(_VALUE, b"")


def _digest(*parts: bytes) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest().encode()


def _compare(path: str | Path, digest: bytes, *parts: bytes) -> None:
    if digest != _digest(*parts):
        raise UserError(
            f"{path} is damaged, or was changed after its export: its SHA-256 is not the one that it holds; "
            "copy it again, or export the model again"
        )


def _read(path: str | Path) -> bytes:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no exported file at {path}")
    return path.read_bytes()


def _foreign(path: str | Path) -> UserError:
    return UserError(
        f"{path} is no export of gpvit, or is cut short: it has no metadata at its end; write it with `gpvit export`"
    )


@contextmanager
def _damage(path: str | Path) -> Iterator[None]:
    """Name the file whose bytes are not of its format."""
    try:
        yield
    except UserError as error:
        raise error if str(path) in str(error) else UserError(f"{path} {error}") from None
    except Exception as error:  # what damaged bytes raise in zipfile is anything
        raise UserError(f"{path} is damaged, or not of the format that its name says ({error})") from None
