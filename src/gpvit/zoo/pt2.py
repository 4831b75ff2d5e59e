"""Programs of torch.export, opened so that nothing in a file is run but operators on tensors.

torch's own loader unpickles whatever a file asks for, evaluates its texts as Python, and calls any function of torch
that a graph names. So the archive is read here first, and only what :mod:`gpvit.export` writes reaches that loader.
"""

import json
import re
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

import gpvit.models.detection.fitting
import gpvit.ops.suppression  # noqa: F401  a detector's program calls their operators
from gpvit.errors import UserError
from gpvit.runtime.container import read_pt2
from gpvit.runtime.sessions import Session

_CODE = "data/aotinductor/"
_INPUTS = "data/sample_inputs/model.pt"
_PROGRAM = "models/model.json"
_MEMBERS = re.compile(
    rf"{_PROGRAM}|{_INPUTS}|data/(weights|constants)/(weight_\d+|tensor_\d+|model_(weights|constants)_config\.json)"
    r"|archive_format|archive_version|byteorder|\.data/(version|serialization_id|alignment)|extra/gpvit\.json"
)
_TARGETS = re.compile(
    r"torch\.ops\.(aten|torchvision|gpvit|quantized_decomposed)\.(?!from_file)\w+\.\w+"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|pow|neg|eq|ne|lt|le|gt|ge|and_|or_|not_|getitem)"
    r"|math\.(ceil|floor|trunc|sqrt)|torch\.sym_(max|min|not|ite|int|float|sqrt)"
)
_SYMBOLS = (
    "Symbol|Integer|Float|Rational|Add|Mul|Pow|Max|Min|Mod|PythonMod|FloorDiv|CleanDiv|CeilDiv|CeilToInt|FloorToInt"
)
_SYMBOLS += "|TruncToInt|IntTrueDiv|FloatTrueDiv|ToFloat|positive|nonnegative|integer|real|precision|True|False"
_SYMBOLS += "|(E|Une)quality|(Strict)?(Greater|Less)Than|And|Or|Not"
_EXPRESSION = re.compile(rf"(?:\b(?:{_SYMBOLS})\b|'?\b[suz]\w*\d\b'?|'?\b\d+(?:\.\d+)?\b'?|[-+*/%(), =])*")
_CONTAINERS = (None, "builtins.tuple", "builtins.list", "builtins.dict")


def open_program(path: Path) -> Session:
    """Open a `.pt2` that `gpvit export` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        UserError: The file is no export of gpvit, is damaged, or holds more than a graph of operators and tensors.
    """
    metadata, content = read_pt2(path)
    try:
        loaded = torch.export.load(BytesIO(_checked(content)))
        program = loaded.module(check_guards=False)  # which are Python in the file; a session checks the images
    except UserError as error:
        raise UserError(f"{path} {error}") from None
    except Exception as error:  # what torch raises of a program that it does not know is anything
        raise UserError(
            f"{path} cannot be loaded by torch {torch.__version__} ({str(error).strip()[:200]}); it was written by "
            f"{metadata.versions.get('torch', 'another')}: export the model again with this version"
        ) from error

    @torch.inference_mode()
    def compute(images: np.ndarray) -> dict[str, np.ndarray]:
        outputs = program(torch.from_numpy(images))
        outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
        return {name: output.numpy() for name, output in zip(metadata.outputs, outputs, strict=True)}

    return Session(metadata, str(path), compute)


def _checked(content: bytes) -> bytes:
    """Return the archive made anew of members that are harmless; a UserError refuses all others."""
    made = BytesIO()
    with zipfile.ZipFile(BytesIO(content)) as archive, zipfile.ZipFile(made, "w") as copy:
        names = archive.namelist()
        if len(set(names)) < len(names):
            raise UserError("holds a member twice")
        for name in names:
            root, _, member = name.partition("/")
            if member.startswith(_CODE):
                raise UserError(
                    "holds machine code of AOTInductor, which is not run here; if you compiled it yourself, open it "
                    "with torch._inductor.aoti_load_package"
                )
            if _MEMBERS.fullmatch(member) is None:
                raise UserError(f"holds {name!r:.100}, which no export of gpvit does")
            data = archive.read(name)
            _check_member(member, data)
            copy.writestr(f"{root}/{member}", data)
    return made.getvalue()


def _check_member(member: str, data: bytes) -> None:
    if member == _INPUTS:
        torch.load(BytesIO(data), weights_only=True)  # torch's loader would try again without
    elif member.endswith("_config.json"):
        for key, value in _entries(json.loads(data)):
            if key == "use_pickle" and value:
                raise UserError("holds pickled weights; export the model again")
    elif member == _PROGRAM:
        for key, value in _entries(json.loads(data)):
            _check_entry(key, value)


def _check_entry(key: str, value: Any) -> None:
    """Refuse a node that calls anything but an operator, and a text that is evaluated but is no size."""
    targets = [node["target"] for node in value] if key == "nodes" else [value] if key == "as_operator" else []
    if others := [target for target in targets if _TARGETS.fullmatch(target) is None]:
        raise UserError(f"calls {others[0]!r:.100}, which is no operator on tensors")
    if key == "expr_str" and _EXPRESSION.fullmatch(value) is None:
        raise UserError(f"holds the expression {value!r:.100}, which is no size")
    if key in ("in_spec", "out_spec") and value:
        for inner, kind in _entries(json.loads(value)):
            if inner == "type" and kind not in _CONTAINERS:
                raise UserError(f"takes or gives a {kind!r:.100}, and not tensors alone")


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the keys and values of all mappings within plain data."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield from value.items()
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
