"""Checking plain data against a published JSON Schema, with a reason that names the place."""

import json
from functools import cached_property
from importlib.resources import files
from typing import Any

import fastjsonschema
from fastjsonschema import JsonSchemaValueException


class Schema:
    """A JSON Schema (draft 7) that ships with a package; compiled when first used.

    Args:
        package: The package it lies in.
        name: Its file name there.
    """

    def __init__(self, package: str, name: str) -> None:
        self.package, self.name = package, name

    @cached_property
    def document(self) -> dict[str, Any]:
        """The schema itself."""
        return json.loads(files(self.package).joinpath(self.name).read_text(encoding="utf-8"))

    @cached_property
    def _validate(self) -> Any:
        return fastjsonschema.compile(self.document)

    def problem(self, data: Any) -> tuple[list[Any], str] | None:
        """The first place where the data don't fit, as keys from the outside in, and why; None where they fit."""
        try:
            self._validate(data)
        except JsonSchemaValueException as error:
            missing = (
                [key for key in error.rule_definition if key not in error.value] if error.rule == "required" else []
            )
            reason = f"misses {', '.join(missing)}" if missing else error.message.removeprefix(error.name or "").strip()
            return error.path[1:], reason if len(reason) < 200 else f"{reason[:200]}..."
        return None
