"""YAML as it is written."""

import re
from pathlib import Path
from typing import Any, ClassVar

import yaml

from gpvit.errors import UserError


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
