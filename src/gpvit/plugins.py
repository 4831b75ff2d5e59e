"""Modules of the user's own, which register blocks and decoders, imported in every process that builds models."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from gpvit.errors import UserError

_VARIABLE = "GPVIT_IMPORT"  # which processes that this one starts inherit


def import_plugins(names: Sequence[str] = ()) -> None:
    """Import modules, which may lie in the working folder, beside those that the parent of this process imported.

    Raises:
        UserError: There is no such module, or it cannot be imported; what went wrong is said.
    """
    if str(os.getcwd()) not in sys.path:
        sys.path.append(os.getcwd())
    listed = dict.fromkeys([*os.environ.get(_VARIABLE, "").split(), *names])
    for name in listed:
        try:
            import_module(name)
        except Exception as error:  # whatever the module does
            raise UserError(
                f"--import {name}: {type(error).__name__}: {error}; give the name of a module as in `import {name}`, "
                "without .py, of the working folder or an installed package"
            ) from error
    if listed:
        os.environ[_VARIABLE] = " ".join(listed)
