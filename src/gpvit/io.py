"""Paths as users write them, files written whole or not at all, YAML and JSON as they are written, natural order."""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import yaml

from gpvit.errors import UserError


def located(path: str | Path) -> Path:
    """Give the path that a user means: `~` and `$VARIABLES` are expanded, unless there is one as it is written."""
    return Path(path if os.path.lexists(path) else os.path.expandvars(os.path.expanduser(path)))


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path, of the same name, to write to; what was written there then takes the path's place.

    Args:
        path: The file to write; its folder is made where it is missing, and an error leaves the old file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".saving-", ignore_cleanup_errors=True) as folder:
        temporary = Path(folder) / path.name
        yield temporary
        os.replace(temporary, path)


def write_text(path: str | Path, text: str) -> None:
    """Write a text in UTF-8, whole or not at all; odd bytes of file names are written as escapes."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; a UserError names one that is none."""
    try:
        return json.loads(Path(path).read_bytes())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON, or is cut short: {error}") from error


def read_yaml(path: str | Path) -> Any:
    """Read a YAML file, in UTF-8 or UTF-16, without YAML's own ideas of what is written.

    `no`, `off`, `08`, `0x1F`, `1_000` and dates are texts; numbers, `true`, `false` and `null` are what they say, and
    `1e-4` is a number. Of a list, or a mapping from labels, of class names (`names`, `class_names`, `classes`), every
    item is the text that is written: `[yes, 1.0, null]` are three names.

    Raises:
        FileNotFoundError: There is no such file.
        UserError: The file is no YAML, or a key stands twice; the message names file and line.
    """
    with open(path, "rb") as file:
        try:
            return yaml.load(file, _AsWritten)
        except RecursionError:
            raise UserError(f"{path} is nested too deeply; write it with fewer brackets or levels") from None
        # a tag that does not suit its value, such as `!!bool 5`, raises nearly anything
        except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError) as error:
            raise UserError(f"{path}: {error}") from error


class _AsWritten(yaml.SafeLoader):
    yaml_implicit_resolvers: ClassVar[dict[Any, Any]] = {  # type: ignore[misc]  # a class has them, and not an object
        None: [
            (f"tag:yaml.org,2002:{kind}", re.compile(f"(?:{pattern})$"))
            for kind, pattern in (
                ("null", r"~|null|Null|NULL|"),
                ("bool", r"true|True|TRUE|false|False|FALSE"),
                ("int", r"[-+]?(0|[1-9][0-9]*)"),
                ("float", r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan"),
            )
        ]
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        known = set()
        for key_node, value in node.value if isinstance(node, yaml.MappingNode) else ():
            key = self.construct_object(key_node, deep=True)
            if key in known:
                raise yaml.MarkedYAMLError(problem=f"{key!r} stands twice: leave one", problem_mark=key_node.start_mark)
            known.add(key)
            items = []
            if key in ("names", "class_names", "classes") and isinstance(value, yaml.SequenceNode):
                items = value.value
            elif key == "names" and isinstance(value, yaml.MappingNode):
                items = [name for _, name in value.value]
            for item in items:
                if isinstance(item, yaml.ScalarNode):
                    item.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep)


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Give a key that sorts names as people do: `img2` before `img10`.

    Example:
        >>> sorted(["img10", "img2"], key=natural_key)
        ['img2', 'img10']
    """
    parts = re.split(r"(\d+)", text)
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part)


def sha256(path: str | Path) -> str:
    """Compute the SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
