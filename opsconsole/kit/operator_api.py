"""What the routes of the operator's API share: the schemas of changes and lists, versions, refusals and lines of the audit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from hashlib import sha256
from typing import Annotated, Any

from django.db.models import Model
from django.http import HttpRequest
from django.utils.crypto import salted_hmac
from ninja import Field, Schema
from pydantic import ConfigDict, StringConstraints

from opsconsole.kit import audit, keyset, reasons
from opsconsole.kit.api_text import FreeText
from opsconsole.kit.form_values import canonical
from opsconsole.kit.keyset import Cursor
from opsconsole.kit.principal import Principal
from opsconsole.kit.problems import Problem

PREFIX = "operator/"
TAG = "For operators"
MOST_ROWS = 200
DEFAULT_ROWS = 50
LONGEST_CURSOR = 1_000


class OperatorRequest(HttpRequest):
    """A request whose key was checked: ``auth`` says for whom it acts."""

    auth: Principal


def log(request: OperatorRequest, rows: Iterable[Model], did: str, *, why: str, result: str = "") -> None:
    """Write the same lines of the audit as a page does, in the name of the key."""
    if changed := list(rows):
        audit.log_without_user(request.auth.name, did, why=why, result=result, rows=changed)


Reason = Annotated[FreeText, StringConstraints(min_length=1, max_length=reasons.MOST_CHARACTERS)]
# For the few changes for which pages ask for no more.
OptionalReason = Annotated[FreeText, StringConstraints(max_length=reasons.MOST_CHARACTERS)]
VersionText = Annotated[str, StringConstraints(strict=True, pattern="^[0-9a-f]{32}$")]
CursorText = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_CURSOR)]
RowsAPage = Annotated[int, Field(ge=1, le=MOST_ROWS)]
VERSION = "The state that you saw. If it differs now, the answer is 409, and nothing is changed."


class Asked(Schema):
    model_config = ConfigDict(extra="forbid")


class OfSeen(Asked):
    """What every change of something that was looked at carries."""

    version: VersionText = Field(examples=["9f2c41d07be35a88c1406d2f7e90b6a3"], description=VERSION)


class Change(OfSeen):
    """A change with a reason, which is nearly every one."""

    reason: Reason = Field(examples=["the address service is back"], description="Kept with the change.")


class ListQuery(Schema):
    """The parameters of every list."""

    limit: RowsAPage = Field(DEFAULT_ROWS, description="The most rows of one answer.")
    after: CursorText | None = Field(None, description="The `next` of the answer before this one.")


def refuse_unknown(request: HttpRequest, query: type[Schema]) -> None:
    """Raise ``Problem`` for parameters that the list does not have, or has once: ignored, they would show something else."""
    if unknown := sorted(request.GET.keys() - query.model_fields.keys()):
        known = ", ".join(sorted(query.model_fields))
        raise Problem(422, f"There is no parameter '{unknown[0][:100]}'. This list has: {known}.")
    if twice := sorted(name for name, values in request.GET.lists() if len(values) > 1):
        raise Problem(422, f"The parameter '{twice[0]}' occurs more than once.")


def version_of(row: Model, *seen: object) -> str:
    """Return a text that differs when one of these values of the row does. It does not tell what they are."""
    text = canonical([row._meta.label_lower, str(row.pk), *seen])  # noqa: SLF001 - Django documents it
    return salted_hmac("opsconsole.operator-api", text, algorithm="sha256").hexdigest()[:32]


def refuse_if_changed(version: str, current: Mapping[str, Any]) -> None:
    """Raise ``Problem`` with what is true now, unless this is the version that the caller saw."""
    if version != current["version"]:
        raise Problem(
            409,
            "It changed since you looked. Nothing was changed. `current` is what is true now: look at it, then decide again.",
            reason="changed",
            current=dict(current),
        )


def refused(sentence: str, current: Mapping[str, Any]) -> Problem:
    """Return the problem for a change that the present state rules out."""
    return Problem(
        409, f"{sentence.rstrip('.')}. Nothing was changed.", reason="refused", current=dict(current)
    )


def read_cursor(query: ListQuery, parse: Callable[[str], Any]) -> Cursor | None:
    """Return the cursor that an answer to the same question carried. Raise ``Problem`` for anything else.

    That of another list or of other filters would begin in the middle, and rows would be missing without a word. ``parse``
    reads its key.
    """
    if query.after is None:
        return None
    text, _, mark = query.after.partition(".")
    with suppress(keyset.NoCursor):
        cursor = keyset.read(text, parse)
        if mark == _mark(query):
            return cursor
    raise Problem(422, "after: it is not the `next` of an answer of this list with these filters.")


def next_text(query: ListQuery, following: Cursor | None) -> str | None:
    """Return the cursor of the rows after these as the answer carries it; None where there are none."""
    return following and f"{following.text()}.{_mark(query)}"


def _mark(query: ListQuery) -> str:
    """Return a text that differs between lists and between filters."""
    filters = query.model_dump(exclude={"limit", "after"}, mode="json")
    return sha256(canonical([type(query).__name__, filters]).encode()).hexdigest()[:8]
