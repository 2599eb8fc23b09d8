"""The kind of API that the console has: its bodies are strict JSON, and its document is complete."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpRequest
from ninja import NinjaAPI
from ninja.parser import Parser

from opsconsole.api import description
from opsconsole.kit.problems import Problem
from opsconsole.kit.storable import DEEPEST, KeyTwice, each_key_once, is_too_deep


class StrictParser(Parser):
    """A parser of standard JSON without NaN and Infinity, with each key once and no more levels than any program can follow."""

    def parse_body(self, request: HttpRequest) -> Any:
        body = request.body
        # As json.loads decodes it.
        text = body.decode(json.detect_encoding(body), "surrogatepass")
        if is_too_deep(text):
            raise Problem(422, f"The body is nested more than {DEEPEST} levels deep.")
        try:
            return _DECODER.decode(text)
        except KeyTwice as error:
            raise Problem(422, f"Body: {error}. Nothing was done.") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


_DECODER = json.JSONDecoder(object_pairs_hook=each_key_once, parse_constant=_refuse_constant)


class ConsoleAPI(NinjaAPI):
    def get_openapi_schema(self, **options: Any) -> Any:
        """Return the document with the parts that all routes share: problem documents, headers, further statuses."""
        return description.complete(super().get_openapi_schema(**options))
