"""The strict sandbox in which template bodies and expressions are compiled and run.

Templates are untrusted: an author may try to reach Python, to exhaust time or memory, or to look into an answer that
may only be placed. So everything is a whitelist. The syntax tree is checked and rewritten before Jinja compiles it:
what Jinja would run unguarded (loops, calls, slices, comparisons, ``~``) becomes a filter of ours, so that no function
or method is ever a value. Values are plain data (str, int, float, bool, None, list, tuple, dict), slots, namespaces
and the loop object. What an operation may cost is bounded before it is run, and a rendering has a budget for them all.

Each file imports only those above it:

    values       limits, slots, what plain data weighs, and the budget of a rendering
    environment  look-ups, operators, and names that are missing
    functions    filters, tests, methods, and what takes the place of Jinja's own statements
    compiler     from a source to a text or an expression that can be run

This package knows nothing of tasks, prompts, files or YAML.
"""

from __future__ import annotations

from harness.sandbox.compiler import Expression, Text, compile_expression, compile_text
from harness.sandbox.values import Slot

__all__ = ["Expression", "Slot", "Text", "compile_expression", "compile_text"]
