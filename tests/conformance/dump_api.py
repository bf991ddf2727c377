# SPDX-License-Identifier: Apache-2.0
"""Prints what a module of bindings has, as JSON. Runs in a process of its own: ``python dump_api.py MODULE``."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys

SIGNATURE = r"^(?:\d+\. )?{name}\((.*)\) -> (.*)$"
DEPTH = 3


def describe(name, value, depth=0):
    """One member: a class with its members, a property, a function with its overloads, or a plain value."""
    if inspect.isclass(value):
        members = {} if depth >= DEPTH else {n: getattr(value, n, None) for n in dir(value)}
        shown = {n: describe(n, v, depth + 1) for n, v in members.items() if not n.startswith("_") or n == "__init__"}
        return {"kind": "class", "members": shown}
    if isinstance(value, property) or inspect.isdatadescriptor(value):
        return {"kind": "property", "writable": getattr(value, "fset", value) is not None}
    if callable(value):
        return {"kind": "function", "overloads": overloads(name, value)}
    return {"kind": "value"}


def overloads(name, function):
    """Parameters of every form a function has: pybind11 lists them in its text, Cython has a signature."""
    text = function.__doc__ or ""
    found = re.findall(SIGNATURE.format(name=re.escape(name)), text, re.MULTILINE)
    found = [form for form in found if not form[0].startswith("*args")]
    if found:
        return [{"parameters": parameters(form[0]), "returns": form[1].strip().rpartition(".")[2]} for form in found]
    try:
        given = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    rows = [[p.name, p.default is not p.empty] for p in given if p.kind is not p.VAR_KEYWORD]
    return [{"parameters": rows, "returns": "", "results": results(text)}]


def parameters(text):
    """[name, has a default] of every parameter but self in ``self: A, x: B = <C.D: 0>``."""
    rows, depth, start = [], 0, 0
    for index, letter in enumerate(text + ","):
        depth += (letter in "([<{") - (letter in ")]>}")
        if letter == "," and depth == 0:
            part = text[start:index].strip()
            start = index + 1
            if part and not part.startswith("self"):
                rows.append([part.partition(":")[0].partition("=")[0].strip(), "=" in part])
    return rows


def results(text):
    """Number of values that a function of CUDA's bindings returns, from the section of its text; None if not told."""
    section = re.search(r"^Returns\n-+\n(.*?)(?:\n\n\S|\Z)", text, re.MULTILINE | re.DOTALL)
    return len(re.findall(r"^\S", section[1], re.MULTILINE)) if section else None


def main():
    """Print the whole module."""
    module = importlib.import_module(sys.argv[1])
    members = {name: describe(name, getattr(module, name)) for name in dir(module) if not name.startswith("_")}
    print(json.dumps({"version": getattr(module, "__version__", ""), "members": members}))


if __name__ == "__main__":
    main()
