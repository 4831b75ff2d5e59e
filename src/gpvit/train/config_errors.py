"""Mistakes in recipes: which file and line, what is wrong, and what it may have meant."""

import difflib
import re
from collections.abc import Iterable, Mapping

from gpvit.errors import UserError
from gpvit.train.composition import Composition, walk


def refuse_unknown(composition: Composition, known: Iterable[str]) -> None:
    """Raise for the first setting that is neither `known`, such as `data.augmentation.scale`, nor within such a one."""
    for keys, value in walk(composition.settings):
        name, parent = ".".join(keys), ".".join([*keys[:-1], ""])
        is_group = any(each.startswith(f"{name}.") for each in known)
        if is_group and not isinstance(value, Mapping):
            raise UserError(f"{composition.where(keys)}{name}: {value!r} given, settings `key: value` expected")
        if not is_group and not any(f"{name}.".startswith(f"{each}.") for each in known):
            elsewhere = [each for each in sorted(known) if each.partition(".")[2] == keys[-1]]
            siblings = {each.removeprefix(parent).partition(".")[0] for each in known if each.startswith(parent)}
            near = elsewhere or [parent + each for each in difflib.get_close_matches(keys[-1], siblings, n=1)]
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(siblings))}"
            raise UserError(f"{composition.where(keys)}there is no setting {name}; {hint}")


def explain(error: Exception, composition: Composition) -> str:
    """Say what jsonargparse refuses: where it stands, what is given and what is expected."""
    text = str(error)
    if missing := re.search(r"arguments are required: ([\w.]+)", text):
        return f"{composition.files}: {missing[1]} is missing; add it, or give --{missing[1]} VALUE"
    found = re.search(r'key "([\w.]+)"', text)
    if not found:
        return text
    keys = tuple(found[1].split("."))
    value = next((value for path, value in walk(composition.settings) if path == keys), None)
    types = re.findall(r"Expected an? (.+?)(?:\. Got value.*)?$", text, re.MULTILINE)
    plain = [re.sub(r"<class '(?:\w+\.)*(\w+)'>|typing\.", r"\1", each).replace("NoneType", "null") for each in types]
    expected = " or ".join(plain) or text.partition("\n")[2].strip()
    return f"{composition.where(keys)}{found[1]}: {value!r} given, {expected} expected"
