"""Versions of forms: each form that changes something carries what it was opened with, so that no change is lost.

The version holds, for each field that the form changes, the value as read from the database, signed in a hidden field. When
the form is sent, the rows are locked and read again in the transaction that writes. If a value differs, somebody changed
it in the meantime: nothing is written, and the person reads what was, what is now, what they entered, who changed it and
when. Fields that they left alone then show what is now; what they entered stays.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from django import forms
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.core import signing
from django.db.models import Model, QuerySet
from django.utils.crypto import salted_hmac

from opsconsole.kit import audit
from opsconsole.kit.form_values import canonical, shown

if TYPE_CHECKING:
    from django.utils.datastructures import MultiValueDict

FIELD = "version"
SALT = "opsconsole.form-version"
STATUS = HTTPStatus.CONFLICT
# Longer values are cut on the conflict page; whether they differ is decided by their digest.
MOST_CHARACTERS = 300
MOST_CHANGES = 5
HIDDEN = "(not shown)"
NO_VERSION = (
    "Nothing was changed. This form does not say which version it was opened with: it is from before an upgrade of the "
    "console, or a program made it. Below is the present state. Check your entries, then send the form again."
)


@dataclass(frozen=True)
class Value:
    """A value as it was read: ``text`` is for people, ``digest`` tells two values apart. ``raw`` is None once it was sent."""

    text: str
    digest: str
    raw: Any = None

    @classmethod
    def of(cls, raw: Any, text: str = "") -> Value:
        """Return the value, with another text than its own where that says more or must not be shown."""
        digest = salted_hmac(SALT, canonical(raw), algorithm="sha256").hexdigest()[:32]
        return cls(text or shown(raw), digest, raw)


@dataclass(frozen=True)
class Version:
    """The values of one or more rows, by the name of the form's field or, for what has none, a name for people.

    ``told_by``: further rows whose lines of the audit say who changed the values. ``opened_with``: that of another form of the
    same page, which is of the same moment. ``newest``: the newest line of the audit, where it was read with the values.
    """

    rows: tuple[tuple[str, str], ...]
    values: Mapping[str, Value]
    told_by: tuple[tuple[str, str], ...] = ()
    opened_with: Version | None = None
    newest: int | None = None

    def token(self) -> str:
        """Return the version as the form carries it, with the newest line of the audit when it is first asked for."""
        values = {name: (value.text[:MOST_CHARACTERS], value.digest) for name, value in self.values.items()}
        return signing.dumps([self.rows, values, self._newest], salt=SALT, compress=True)

    @cached_property
    def _newest(self) -> int:
        """Return the newest line of the audit: for all forms of a page that carry this version, of one moment."""
        if self.opened_with:
            return self.opened_with._newest  # noqa: SLF001 - of the same class
        return audit.newest() if self.newest is None else self.newest


def of(rows: Iterable[Model], values: Mapping[str, Any]) -> Version:
    """Return the version of these rows with these values, or with a ``Value`` for one that has a text of its own."""
    return Version(
        tuple(_named(row) for row in rows),
        {name: raw if isinstance(raw, Value) else Value.of(raw) for name, raw in values.items()},
    )


def of_row(row: Model, names: Iterable[str], *, secret: Collection[str] = ()) -> Version:
    """Return the version of a row's fields, also of those that relate many rows. Of a secret one only a keyed digest travels."""
    fields = {field.name: field for field in (*row._meta.concrete_fields, *row._meta.many_to_many)}  # noqa: SLF001
    values = {name: fields[name].value_from_object(row) for name in names if name in fields}
    return of([row], {name: Value.of(raw, HIDDEN) if name in secret else raw for name, raw in values.items()})


def of_something(label: str, name: str, values: Mapping[str, Any], told_by: Iterable[Model] = ()) -> Version:
    """Return the version of something that may have no row yet. ``told_by``: rows whose audit tells of it."""
    version = of((), values)
    return replace(version, rows=((label, name),), told_by=tuple(_named(row) for row in told_by))


def last_change(row: Model) -> Value:
    """Return the last decision of a person about a row, as the audit tells of it."""
    last = audit.of_rows(type(row), [str(row.pk)]).select_related("user").first()
    text = f"{shown(last.action_time)} by {audit.who(last)}" if last else ""
    return Value.of(last and last.pk, text)


def _named(row: Model) -> tuple[str, str]:
    return row._meta.label_lower, str(row.pk)  # noqa: SLF001 - Django documents it


@dataclass(frozen=True)
class Difference:
    """A value that differs: ``was`` when the form was opened, ``now``, and ``entered`` ('' for what can't be entered).

    ``left_alone``: the person entered what it was.
    """

    name: str
    was: str
    now: str
    entered: str = ""
    left_alone: bool = False


@dataclass(frozen=True)
class Conflict:
    """Why a form was refused: the values that changed since it was opened, and the lines of the audit about them."""

    sentence: str
    differences: Sequence[Difference] = ()
    changes: Sequence[LogEntry] = ()


def conflict(now: Version, token: str, entered: Mapping[str, Value] | None = None) -> Conflict | None:
    """Compare the rows as they are, locked, with what a form was opened with. Return None if nothing differs."""
    entered = entered or {}
    try:
        rows, values, newest = signing.loads(token, salt=SALT)
    except signing.BadSignature:
        return Conflict(NO_VERSION)
    shown_rows = {(label, pk) for label, pk in rows}
    if not shown_rows.issuperset(now.rows):
        return Conflict(NO_VERSION)
    opened = {name: Value(text, digest) for name, (text, digest) in values.items()}
    gone = sorted(shown_rows.difference(now.rows))
    differences = [Difference(f"{label} {pk}", "on the page", "no longer concerned") for label, pk in gone]
    differences += [
        _difference(name, opened.get(name), now.values.get(name), entered.get(name))
        for name in {**opened, **now.values}
        if _digest(opened.get(name)) != _digest(now.values.get(name))
    ]
    if not differences:
        return None
    changes = _changes(shown_rows.union(now.told_by), newest)
    who = f"{audit.who(changes[0])} changed this" if changes else "This was changed"
    return Conflict(
        f"Nothing was saved. {who} after you opened the page. Read what changed and check your entries, then send the "
        "form again.",
        differences,
        changes,
    )


def difference(before: Version, after: Version, names: Mapping[str, str] | None = None) -> str:
    """Describe for the audit what changed between two reads of a row, such as 'Limit: 10 to 12; Mode: enforce to off'."""
    changes = [
        f"{(names or {}).get(name, name)}: {_change(value, after.values[name])}"
        for name, value in before.values.items()
        if value.digest != after.values[name].digest
    ]
    return "; ".join(changes) or "Nothing changed"


def _change(was: Value, now: Value) -> str:
    """Return both values; of long lists, such as the permissions of a role, what came and what went."""
    if max(len(was.text), len(now.text)) > MOST_CHARACTERS:
        old, new = was.text.split(", "), now.text.split(", ")
        added, removed = set(new).difference(old), set(old).difference(new)
        parts = [f"added {', '.join(sorted(added))}"] if added else []
        parts += [f"removed {', '.join(sorted(removed))}"] if removed else []
        if parts and len(old) + len(new) > len(parts) + 1:
            return ", ".join(parts)
    return f"{_brief(was)} to {_brief(now)}"


def _brief(value: Value) -> str:
    return value.text if len(value.text) <= MOST_CHARACTERS else f"{value.text[:MOST_CHARACTERS]}…"


def _digest(value: Value | None) -> str:
    return value.digest if value else ""


def _difference(name: str, was: Value | None, now: Value | None, entered: Value | None) -> Difference:
    return Difference(
        name,
        was.text if was else "not on the page",
        _brief(now) if now else "gone",
        _brief(entered) if entered else "",
        left_alone=entered is not None and _digest(entered) == _digest(was),
    )


def _changes(rows: Iterable[tuple[str, str]], newest: int) -> list[LogEntry]:
    """Return the lines of the audit about these rows since then, newest first."""
    pks_by_label: dict[str, list[str]] = {}
    for label, pk in rows:
        pks_by_label.setdefault(label, []).append(pk)
    found: list[LogEntry] = []
    for label, pks in pks_by_label.items():
        found += audit.of_rows(apps.get_model(label), pks, newest).select_related("user")[:MOST_CHANGES]
    return sorted(found, key=lambda line: -line.pk)[:MOST_CHANGES]


class VersionedForm(forms.BaseForm):
    """A mixin for forms that change rows. ``now``: the rows as they are, read under a lock when the form was sent.

    Without ``now`` the form needs no version: it adds something, or something else guards its change.
    """

    now: Version | None = None
    conflict: Conflict | None = None

    def __init__(self, *args: Any, version: Version | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.now = version or self.now
        if self.now is not None:
            self.fields[FIELD] = forms.CharField(required=False, widget=forms.HiddenInput)
            if not self.is_bound:
                self.initial[FIELD] = self.now.token()

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if self.now is not None:
            self._refuse_if_stale(self.now)
        return cleaned

    @property
    def status(self) -> int:
        """Return the status of a page that shows this form."""
        return STATUS if self.conflict else HTTPStatus.OK

    def _refuse_if_stale(self, now: Version) -> None:
        entered = {name: Value.of(raw) for name, raw in self.cleaned_data.items() if name in now.values}
        self.conflict = conflict(now, str(self.data.get(self.add_prefix(FIELD), "")), entered)
        if self.conflict:
            self.add_error(FIELD, self.conflict.sentence)
            self.data = self._with_present_values(now, self.conflict)

    def _with_present_values(self, now: Version, found: Conflict) -> Any:
        """Return what was sent, with the version as of now, and with the present value of each field left alone."""
        sent: Any = self.data
        data = sent.copy()
        data[self.add_prefix(FIELD)] = now.token()
        for each in found.differences:
            if each.name in self.fields and each.name in now.values and each.left_alone:
                _enter(data, self.add_prefix(each.name), self.fields[each.name], now.values[each.name].raw)
        return data


def _enter(data: MultiValueDict[str, str], name: str, field: forms.Field, raw: Any) -> None:
    """Put a value into the data of a form, as a browser sends it."""
    value = field.prepare_value(raw)
    if isinstance(field.widget, forms.CheckboxInput):
        data.pop(name, None)
        if value:
            data[name] = "on"
    elif isinstance(value, list | tuple | set | QuerySet):
        data.setlist(name, [str(item) for item in value])
    else:
        data[name] = "" if value is None else str(value)
