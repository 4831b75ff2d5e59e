"""gpvit: high-resolution, non-hierarchical vision transformers.

Public names, listed in ``__init__.pyi``, load on first use, so that importing this package costs nothing. timm learns
the models whenever it is imported, before or after this package.
"""

import ast
import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from gpvit import lazy

_STUB = ast.parse(Path(__file__).with_suffix(".pyi").read_bytes())
_IMPORTS = [line for line in _STUB.body if isinstance(line, ast.ImportFrom)]
__getattr__, __dir__, __all__ = lazy.attach(
    __name__, {alias.name: f".{line.module}" for line in _IMPORTS for alias in line.names}
)


def _register_names() -> None:
    for module in ("gpvit", "plain_vits", "adapters"):
        import_module(f"gpvit.zoo.{module}")


class _RegistersWithTimm:
    """Lets timm's import end with the registration of our models."""

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "timm":
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next((found for finder in others if (found := finder.find_spec(name, path, target))), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                sys.meta_path.remove(self)
                _register_names()

            spec.loader.exec_module = execute_and_register
        return spec


if "timm" in sys.modules:
    _register_names()
else:
    sys.meta_path.insert(0, _RegistersWithTimm())
