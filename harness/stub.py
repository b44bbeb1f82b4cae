"""Writes the package's stub, ``harness/__init__.pyi``, from the signatures that its functions have at run time."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import harness

_HEAD = """\
# Written by scripts/write_stub.py; a test compares.
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pandas import DataFrame

"""


def package_stub() -> str:
    """Functions in full; classes and modules of formulas from where they are."""
    imports, functions = [], []
    for name in sorted(harness.__all__):
        found = getattr(harness, name)
        if inspect.ismodule(found):
            imports.append(f"from harness import {name} as {name}")
        elif inspect.isfunction(found) and hasattr(found, "__signature__"):
            functions.append(_function(found))
        else:
            imports.append(f"from {found.__module__} import {name} as {name}")
    listed = "".join(f"    {name!r},\n" for name in sorted(harness.__all__))
    text = "\n".join(sorted(imports)) + f"\n\n__all__ = [\n{listed}]\n\n" + "".join(functions)
    return _HEAD + text.replace("'", '"')


def _function(function: Callable[..., Any]) -> str:
    signature = inspect.signature(function)
    lines = []
    starred = False
    for one in signature.parameters.values():
        if one.kind is inspect.Parameter.KEYWORD_ONLY and not starred:
            lines.append("    *,")
            starred = True
        default = "" if one.default is inspect.Parameter.empty else " = ..."
        lines.append(f"    {one.name}: {one.annotation}{default},")
    return "\n".join([f"def {function.__name__}(", *lines, f") -> {signature.return_annotation}: ...\n"])
