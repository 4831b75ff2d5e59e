"""The command that makes a result again, to stand beside it."""

import inspect
import shlex
from collections.abc import Callable, Sequence
from typing import Any


def command_line(words: Sequence[str], function: Callable[..., Any], **options: Any) -> str:
    """Write a command with every option that differs from its default.

    Args:
        words: What it begins with.
        function: Whose parameters have the same names and defaults as the options.
        **options: As the function was called; a flag is True or False.

    Example:
        >>> def measure(rounds: int = 3, quick: bool = False): ...
        >>> command_line(["gpvit", "table", "10"], measure, rounds=5, quick=True)
        'gpvit table 10 --rounds 5 --quick'
    """
    line = list(words)
    for name, value in options.items():
        if value != inspect.signature(function).parameters[name].default:
            line += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return shlex.join(line)
