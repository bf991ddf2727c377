# SPDX-License-Identifier: Apache-2.0
"""Turn the manifest's JSON schema into plain Python: ``python tools/make_validator.py [--check]``.

A robot validates manifests without any package but numpy, so fastjsonschema compiles the schema here, ahead of time.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import fastjsonschema

PACKAGE = Path(__file__).parents[1] / "evit_deploy" / "manifest"
HEADER = '''# SPDX-License-Identifier: Apache-2.0
# Generated from schema.json by tools/make_validator.py (fastjsonschema). Do not edit.
# ruff: noqa
# mypy: ignore-errors
"""Validators of manifest.json: of an artifact, and of a bundle."""
import re


class SchemaError(ValueError):
    """A manifest that breaks the schema; says where and what was expected."""


'''


def generate() -> str:
    """The source of the validator module."""
    schema = json.loads((PACKAGE / "schema.json").read_text(encoding="utf-8"))
    definitions = schema.pop("definitions")
    kinds = {"validate": "manifest", "validate_bundle": "bundle"}
    # One root for both, so that what they share is written once.
    code = fastjsonschema.compile_to_code(
        {
            "$schema": schema["$schema"],
            "definitions": {**definitions, "manifest": schema},
            "properties": {kind: {"$ref": f"#/definitions/{kind}"} for kind in kinds.values()},
        }
    )
    code = re.sub(r"^(VERSION = .*|import re|from fastjsonschema import .*)\n", "", code, flags=re.MULTILINE)
    code = code.replace("JsonSchemaValueException", "SchemaError").replace(
        "(SchemaError, JsonSchemaValuesException)", "SchemaError"
    )
    code = re.sub(r", value=data.*$", ")", code, flags=re.MULTILINE)  # details nobody reads, half of the file
    names = [f"{alias} = validate___definitions_{kind}\n" for alias, kind in kinds.items()]
    return "\n".join([HEADER + code.strip() + "\n\n", *names])


def main() -> int:
    """Write the module, or with ``--check`` say whether it is up to date."""
    path = PACKAGE / "_validator.py"
    if "--check" in sys.argv:
        return 0 if path.read_text(encoding="utf-8") == generate() else 1
    path.write_text(generate(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
