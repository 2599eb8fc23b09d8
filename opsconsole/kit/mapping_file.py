"""The TOML file that OPSCONSOLE_MAPPING names: read once at start, refused with a sentence where it is wrong."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterable
from collections.abc import Mapping as Dictionary
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

from django.core.exceptions import ImproperlyConfigured

from opsconsole.kit import mapping
from opsconsole.kit.mapping import Jobs, Life, Mapping, Table, Time

VARIABLE, SHORT_FORM = "OPSCONSOLE_MAPPING", "OPSCONSOLE_COLUMNS"
LONGEST_FILE = 100_000
LONGEST_NAME_BYTES = 63
# Without these nothing can be said of a row.
_INDISPENSABLE = frozenset({"jobs.id", "jobs.status", "worker_heartbeats.worker_id"})
# A status without any word would make a whole page or duty mean nothing.
_NEEDS_A_WORD = (mapping.PENDING, mapping.IN_PROGRESS, mapping.COMPLETED)
# What some way of quoting a name would not survive.
_AMBIGUOUS = frozenset('"%\0{}\\')
_TABLE_KEYS = ("schema", "table", "columns", "times")
_KEYS: Dictionary[str, tuple[str, ...]] = MappingProxyType(
    {
        "jobs": (*_TABLE_KEYS, "id_type", "statuses", "life"),
        "worker_heartbeats": (*_TABLE_KEYS, "absent"),
        "rate_limit_requests": (*_TABLE_KEYS, "absent"),
    }
)


class MappingError(ImproperlyConfigured):
    """A mapping that is not a mapping, or that contradicts itself. The text is one or two sentences."""


def read(path: str, columns: Dictionary[str, str]) -> Mapping:
    """Return the mapping of the file at ``path``, or, without a path, that of the short form for columns.

    ``columns``: such as ``{"jobs.customer_id": "client_ref"}``. A mapping that this version can't follow is refused too.
    """
    if not path:
        return of_columns(columns)
    if columns:
        raise MappingError(
            f"{VARIABLE} and {SHORT_FORM} are both set. Write the columns into the file, and unset the other."
        )
    try:
        found = parse(_text(Path(path)))
    except MappingError as error:
        raise MappingError(f"{VARIABLE} names {path[:200]!r}, which can't be used. {error}") from error
    refusals = found.unsupported()
    if refusals:
        raise MappingError(f"{VARIABLE} names {path[:200]!r}, which can't be used. {refusals[0]}.")
    return found


def of_columns(columns: Dictionary[str, str]) -> Mapping:
    """Return the mapping of a few columns: "table.column" -> their name."""
    tables: dict[str, dict[str, Any]] = {}
    for name, actual in columns.items():
        table, _, column = name.partition(".")
        tables.setdefault(table, {"columns": {}})["columns"][column] = actual
    try:
        return _mapping(tables)
    except MappingError as error:
        raise MappingError(f"{SHORT_FORM} can't be used. {error}") from error


def parse(text: str) -> Mapping:
    """Return the mapping that this TOML describes. Raise ``MappingError`` with a sentence that names the place."""
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise MappingError(f"It is not TOML: {error}.") from error
    return _mapping(tables)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST_FILE + 1)
        if len(content) > LONGEST_FILE:
            raise MappingError(f"It is larger than {LONGEST_FILE} bytes.")
        return content.decode()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise MappingError(f"It can't be read: {reason}.") from error


def _mapping(tables: dict[str, Any]) -> Mapping:
    _known("", tables, tuple(_KEYS))
    built: dict[str, Any] = {}
    for name, keys in _KEYS.items():
        content = _dictionary(name, tables.get(name, {}))
        _known(name, content, keys)
        common = _table(name, content)
        built[name] = Jobs(**common, **_of_jobs(content)) if name == "jobs" else Table(**common)
    found = Mapping(**built)
    _refuse_one_table_for_two(found)
    return found


def _table(name: str, content: dict[str, Any]) -> dict[str, Any]:
    absent = content.get("absent", False)
    if not isinstance(absent, bool):
        raise MappingError(f"[{name}] absent must be true or false, not {_shown(absent)}.")
    if absent and len(content) > 1:
        raise MappingError(
            f"[{name}] absent = true says that there is no such table. Leave out the other keys."
        )
    columns, missing = _columns(name, _dictionary(f"{name}.columns", content.get("columns", {})))
    times = _times(name, _dictionary(f"{name}.times", content.get("times", {})), missing)
    return {
        "contract": name,
        "schema": _name(f"[{name}] schema", content["schema"]) if "schema" in content else None,
        "table": _name(f"[{name}] table", content["table"]) if "table" in content else None,
        "columns": columns,
        "absent_columns": missing,
        "times": times,
        "absent": absent,
    }


def _columns(table: str, content: dict[str, Any]) -> tuple[Dictionary[str, str], frozenset[str]]:
    known = mapping.CONTRACT_COLUMNS[table]
    _known(f"{table}.columns", content, known)
    missing = frozenset(column for column, actual in content.items() if actual is False)
    for column in missing:
        if f"{table}.{column}" in _INDISPENSABLE:
            raise MappingError(
                f"[{table}.columns] {column} can't be false: no row means anything without it."
            )
    renamed = {
        column: _name(f"[{table}.columns] {column}", actual)
        for column, actual in content.items()
        if column not in missing
    }
    _refuse_one_column_for_two(
        table, {name: renamed.get(name, name) for name in known if name not in missing}
    )
    return MappingProxyType({name: actual for name, actual in renamed.items() if actual != name}), missing


def _refuse_one_column_for_two(table: str, actual: dict[str, str]) -> None:
    taken: dict[str, str] = {}
    for contract_name, column in actual.items():
        if column in mapping.OWN_COLUMNS[table]:
            raise MappingError(
                f"[{table}.columns] {contract_name} names {column!r}, a column that the console adds itself."
            )
        if column in taken:
            raise MappingError(
                f"[{table}.columns] {contract_name} and {taken[column]} both name the column {column!r}."
            )
        taken[column] = contract_name


def _times(table: str, content: dict[str, Any], missing: Collection[str]) -> Dictionary[str, Time]:
    _known(f"{table}.times", content, mapping.TIMES[table])
    for column in content:
        if column in missing:
            raise MappingError(
                f"[{table}.times] {column} has a kind, but [{table}.columns] says that there is none."
            )
    return MappingProxyType(
        {column: _time(f"[{table}.times] {column}", kind) for column, kind in content.items()}
    )


def _time(place: str, value: object) -> Time:
    kind, _, zone = value.partition(":") if isinstance(value, str) else ("", "", "")
    if kind == mapping.WITHOUT_ZONE and zone:
        try:
            ZoneInfo(zone)
        except (ValueError, OSError, KeyError) as error:
            raise MappingError(
                f"{place} names {zone[:80]!r}, which is no time zone such as Europe/Berlin."
            ) from error
        return Time(kind, zone)
    if kind not in mapping.TIME_KINDS or zone or str(value).endswith(":"):
        accepted = '"without_zone", "without_zone:Europe/Berlin", "epoch_seconds" or "epoch_milliseconds"'
        raise MappingError(f"{place} must be {accepted}, not {_shown(value)}.")
    return Time(kind)


def _of_jobs(content: dict[str, Any]) -> dict[str, Any]:
    id_type = content.get("id_type", "uuid")
    if id_type not in mapping.ID_TYPES:
        raise MappingError(
            f"[jobs] id_type must be one of {', '.join(mapping.ID_TYPES)}, not {_shown(id_type)}."
        )
    statuses = _statuses(_dictionary("jobs.statuses", content.get("statuses", {})))
    return {
        "id_type": id_type,
        "statuses": statuses,
        "life": _life(_dictionary("jobs.life", content.get("life", {}))),
    }


def _statuses(content: dict[str, Any]) -> Dictionary[str, tuple[str, ...]]:
    _known("jobs.statuses", content, mapping.STATUSES)
    statuses = {status: _words(status, content[status]) for status in mapping.STATUSES if status in content}
    meanings: dict[str, str] = {}
    for status in mapping.STATUSES:
        for word in statuses.get(status, (status,)):
            if word in meanings:
                raise MappingError(
                    f"[jobs.statuses] The word {word[:80]!r} stands for {meanings[word]} and for {status}. Keep one of them."
                )
            meanings[word] = status
    return MappingProxyType({status: words for status, words in statuses.items() if words != (status,)})


def _words(status: str, value: object) -> tuple[str, ...]:
    place = f"[jobs.statuses] {status}"
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise MappingError(
            f'{place} must be a list of words such as ["queued", "scheduled"], not {_shown(value)}.'
        )
    if not value and status in _NEEDS_A_WORD:
        raise MappingError(f"{place} is empty. At least one word is needed: the first one is written.")
    for word in value:
        if not word or len(word) > mapping.LONGEST_WORD or set(word) & set("%\0{}"):
            raise MappingError(
                f"{place} must consist of words of 1 to {mapping.LONGEST_WORD} characters other than % {{ }}."
            )
    if len(set(value)) < len(value):
        raise MappingError(f"{place} names a word twice.")
    return tuple(value)


def _life(content: dict[str, Any]) -> Life:
    _known("jobs.life", content, ("told_by", "column"))
    told_by = content.get("told_by", "beats")
    if told_by not in mapping.LIVES:
        raise MappingError(
            f"[jobs.life] told_by must be one of {', '.join(mapping.LIVES)}, not {_shown(told_by)}."
        )
    if ("column" in content) != (told_by == "job_column"):
        raise MappingError('[jobs.life] column belongs to told_by = "job_column", and to nothing else.')
    column = _name("[jobs.life] column", content["column"]) if "column" in content else None
    return Life(told_by, column)


def _refuse_one_table_for_two(found: Mapping) -> None:
    for one, other in _pairs(found.tables):
        same = (one.schema, one.name) == (other.schema, other.name)
        if same and not one.absent and not other.absent:
            raise MappingError(
                f"[{other.contract}] names {other.name}, the table that [{one.contract}] has already."
            )


def _pairs(tables: tuple[Table, ...]) -> Iterable[tuple[Table, Table]]:
    return ((one, other) for place, one in enumerate(tables) for other in tables[place + 1 :])


def _known(place: str, content: Iterable[str], accepted: Collection[str]) -> None:
    unknown = next((key for key in content if key not in accepted), None)
    if unknown is not None:
        where = f"[{place}]" if place else "It"
        raise MappingError(f"{where} has an unknown key {unknown[:80]!r}. Accepted: {', '.join(accepted)}.")


def _dictionary(place: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MappingError(f"[{place}] must be a table of keys and values, not {_shown(value)}.")
    return value


def _name(place: str, value: object) -> str:
    """Return the name of a schema, table or column: neither of the excluded characters survives all quoting."""
    if not isinstance(value, str):
        raise MappingError(f"{place} must be a name, not {_shown(value)}.")
    if not value or len(value.encode()) > LONGEST_NAME_BYTES or set(value) & _AMBIGUOUS:
        raise MappingError(
            f'{place} must be a name of 1 to {LONGEST_NAME_BYTES} bytes without the characters " % \\ {{ }}, not {_shown(value)}.'
        )
    return value


def _shown(value: object) -> str:
    return repr(value)[:80]
