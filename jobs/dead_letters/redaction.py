"""What may be seen of a body: everything but what stands at the configured JSON paths.

A body that is no JSON can't be searched for these paths: while any are configured, it is not shown at all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.conf import settings
from jsonpath_ng.ext.parser import parse

from opsconsole.kit.storable import plain_text

PLACEHOLDER = "[redacted]"
HIDDEN = "[This body is not JSON, so what is to be redacted can't be found in it: it is hidden.]"
MOST_SHOWN = 65_536
MOST_INDEXED = 65_536
DEEPEST = 100


@dataclass(frozen=True)
class Shown:
    """A body as it may be shown. ``cut``: there is more than ``text``."""

    text: str
    is_json: bool
    cut: bool


def show(body: str, most: int = MOST_SHOWN) -> Shown:
    """The body, indented if it is JSON, redacted, and no longer than ``most`` characters."""
    document, is_json = read(body)
    text = json.dumps(redact(document), indent=2, ensure_ascii=False) if is_json else _plain(body)
    return Shown(plain_text(text[:most]), is_json, len(text) > most)


def as_it_is(body: str) -> str:
    """The body for an editor: unchanged where nothing is redacted."""
    if not settings.OPSCONSOLE_REDACT_PATHS:
        return body
    return show(body, len(body) * 4).text


def put_back(edited: str, original: str) -> str:
    """The edited body with the original's values where the editor saw placeholders and left them."""
    (new, new_is_json), (old, old_is_json) = read(edited), read(original)
    if not (settings.OPSCONSOLE_REDACT_PATHS and new_is_json and old_is_json):
        return edited
    for path in _paths(*settings.OPSCONSOLE_REDACT_PATHS):
        for secret in path.find(old):
            for placeholder in secret.full_path.find(new):
                if placeholder.value == PLACEHOLDER:
                    new = secret.full_path.update(new, secret.value)
    return json.dumps(new, ensure_ascii=False)


def redact(document: Any) -> Any:
    """The document with a placeholder at each configured path. The given one may be changed."""
    for path in _paths(*settings.OPSCONSOLE_REDACT_PATHS):
        document = path.update(document, PLACEHOLDER)
    return document


def redact_attributes(attributes: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """The values of message attributes by name; a path such as ``$.token`` hides the attribute ``token``."""
    values = {name: each.get("value", each.get("base64", "")) for name, each in attributes.items()}
    return {name: str(value) for name, value in redact(values).items()}


def words(body: str) -> str:
    """What a search looks at: the redacted body, as far as is indexed."""
    document, is_json = read(body)
    if not is_json:
        return _plain(body)[:MOST_INDEXED]
    return json.dumps(redact(document), ensure_ascii=False)[:MOST_INDEXED]


def version() -> str:
    """Names the configured paths: what was indexed under others is not searched."""
    return hashlib.sha256("\n".join(settings.OPSCONSOLE_REDACT_PATHS).encode()).hexdigest()[:12]


def read(body: str) -> tuple[Any, bool]:
    """(the JSON value, whether it is one). Only objects and lists count: a single word is no document."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None, False
    return document, isinstance(document, dict | list) and not _deeper_than(DEEPEST, document)


def _deeper_than(levels: int, document: Any) -> bool:
    """Nesting beyond all reason would exhaust whoever walks through it."""
    if not isinstance(document, dict | list):
        return False
    children = document.values() if isinstance(document, dict) else document
    return levels == 0 or any(_deeper_than(levels - 1, child) for child in children)


def _plain(body: str) -> str:
    return HIDDEN if settings.OPSCONSOLE_REDACT_PATHS else body


@cache
def _paths(*texts: str) -> tuple[Any, ...]:
    return tuple(parse(text) for text in texts)
