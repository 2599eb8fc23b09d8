"""Redaction: bodies are shown without the values at the configured JSON paths.

These paths can't be found in a body that is not JSON: while any are configured, such a body is not shown at all. A text
inside a body that is JSON itself, as SNS and EventBridge put messages into envelopes, is a document of its own: each path
is looked for in it, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.conf import settings
from jsonpath_ng.ext.parser import parse

from opsconsole.kit.storable import is_too_deep, plain_text
from opsconsole_worker.quoted_values import PLACEHOLDER, unread_reason
from opsconsole_worker.working.poison import POISON_ATTRIBUTE

HIDDEN = "[Hidden: this body is not JSON, so the values to redact can't be found in it.]"
HIDDEN_VALUE = "[Hidden: the values to redact can't be found in it.]"
MOST_SHOWN = 65_536
MOST_INDEXED = 65_536


@dataclass(frozen=True)
class ShownBody:
    """A body as it may be shown. ``cut``: it is longer than ``text``."""

    text: str
    is_json: bool
    cut: bool


def show(body: str, most: int = MOST_SHOWN) -> ShownBody:
    """Return the body redacted, indented if it is JSON, and cut to ``most`` characters."""
    document, is_json = read(body)
    text = json.dumps(redact(document), indent=2, ensure_ascii=False) if is_json else _plain(body)
    return ShownBody(plain_text(text[:most]), is_json, len(text) > most)


def as_it_is(body: str) -> str:
    """Return the body for an editor, unchanged when no redaction is configured."""
    if not settings.OPSCONSOLE_REDACT_PATHS:
        return body
    return show(body, len(body) * 4).text


def put_back(edited: str, original: str) -> str:
    """Return the edited body with the original values in place of the placeholders that are still there."""
    (new, new_is_json), (old, old_is_json) = read(edited), read(original)
    if not (settings.OPSCONSOLE_REDACT_PATHS and new_is_json and old_is_json):
        return edited
    return json.dumps(_restored(new, old), ensure_ascii=False)


def _restored(new: Any, old: Any) -> Any:
    for path in _paths(*settings.OPSCONSOLE_REDACT_PATHS):
        for secret in path.find(old):
            for placeholder in secret.full_path.find(new):
                if placeholder.value == PLACEHOLDER:
                    new = secret.full_path.update(new, secret.value)
    return _restored_inside(new, old)


def _restored_inside(new: Any, old: Any) -> Any:
    """Put the values back in texts that are documents in both, at the same place."""
    if isinstance(new, dict) and isinstance(old, dict):
        return {name: _restored_inside(value, old.get(name)) for name, value in new.items()}
    if isinstance(new, list) and isinstance(old, list):
        return [
            _restored_inside(value, old[place] if place < len(old) else None)
            for place, value in enumerate(new)
        ]
    if not (isinstance(new, str) and isinstance(old, str)):
        return new
    (inner_new, new_is_json), (inner_old, old_is_json) = read(new), read(old)
    if not (new_is_json and old_is_json):
        return new
    restored = _restored(inner_new, inner_old)
    return old if restored == inner_old else json.dumps(restored, ensure_ascii=False)


def shows_hidden(edited: str, restored: str) -> bool:
    """Tell whether ``put_back`` put a value where no path hides it.

    Whether a path with a condition, such as ``$.items[?(@.type=="card")].number``, hides a value depends on others beside it.
    """
    (typed, typed_is_json), (new, new_is_json) = read(edited), read(restored)
    return typed_is_json and new_is_json and _opened(redact(typed)) != _opened(redact(new))


def _opened(document: Any) -> Any:
    """Return the document with the texts in it that are documents read, so that their spacing means nothing."""
    if isinstance(document, dict):
        return {name: _opened(value) for name, value in document.items()}
    if isinstance(document, list):
        return [_opened(value) for value in document]
    inner, is_json = read(document) if isinstance(document, str) else (None, False)
    return _opened(inner) if is_json else document


def redact(document: Any) -> Any:
    """Return the document with a placeholder at each configured path. The document passed in may be changed."""
    if not settings.OPSCONSOLE_REDACT_PATHS:
        return document
    for path in _paths(*settings.OPSCONSOLE_REDACT_PATHS):
        document = path.update(document, PLACEHOLDER)
    return _redacted_inside(document)


def _redacted_inside(document: Any) -> Any:
    """Redact the texts that are documents. One without anything to redact stays as it is written."""
    if isinstance(document, dict):
        return {name: _redacted_inside(value) for name, value in document.items()}
    if isinstance(document, list):
        return [_redacted_inside(value) for value in document]
    inner, is_json = read(document) if isinstance(document, str) else (None, False)
    if not is_json:
        return document
    before = json.dumps(inner)
    redacted = redact(inner)
    return document if json.dumps(redacted) == before else json.dumps(redacted, ensure_ascii=False)


def redact_attributes(attributes: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the values of message attributes by name. A path such as ``$.token`` hides the attribute ``token``."""
    values = {name: each.get("value", each.get("base64", "")) for name, each in attributes.items()}
    if POISON_ATTRIBUTE in values:
        values[POISON_ATTRIBUTE] = unread_reason(values[POISON_ATTRIBUTE])
    return {name: str(value) for name, value in redact(values).items()}


def redact_row(values: Mapping[str, str | None]) -> dict[str, Any]:
    """Return the values of a row by column, redacted like a body. What looks like a document that was cut is hidden whole."""
    if not settings.OPSCONSOLE_REDACT_PATHS:
        return dict(values)
    whole = {
        name: HIDDEN_VALUE if value and value.lstrip()[:1] in "{[" and not read(value)[1] else value
        for name, value in values.items()
    }
    redacted: dict[str, Any] = redact(whole)
    return redacted


def words(body: str) -> str:
    """Return the text to index for searches: the beginning of the redacted body."""
    document, is_json = read(body)
    if not is_json:
        return _plain(body)[:MOST_INDEXED]
    return json.dumps(redact(document), ensure_ascii=False)[:MOST_INDEXED]


def read(body: str) -> tuple[Any, bool]:
    """Return (the JSON value, whether it is one). Only objects and lists count: a single word is not a document."""
    if is_too_deep(body):
        return None, False
    try:
        document = json.loads(body)
    except ValueError:
        return None, False
    return document, isinstance(document, dict | list)


def _plain(body: str) -> str:
    return HIDDEN if settings.OPSCONSOLE_REDACT_PATHS else body


@cache
def _paths(*texts: str) -> tuple[Any, ...]:
    return tuple(parse(text) for text in texts)
