"""The TOML file that OPSCONSOLE_MAPPING names: read once at start, refused with a sentence where it is wrong."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterable
from collections.abc import Mapping as Dictionary
from pathlib import Path
from types import MappingProxyType
from typing import Any

from opsconsole_worker.environment import Environment
from opsconsole_worker.mapping import contract_words
from opsconsole_worker.mapping.file_values import (
    MappingError,
    checked_id_type,
    checked_name,
    checked_table,
    checked_time,
    refuse_unknown_keys,
    shown,
)
from opsconsole_worker.mapping.jobs_section import of_jobs
from opsconsole_worker.mapping.mapped_jobs import Jobs
from opsconsole_worker.mapping.mapped_tables import Table, Time
from opsconsole_worker.mapping.whole_mapping import Mapping

__all__ = ["MappingError", "of_columns", "parse", "read"]

VARIABLE, SHORT_FORM = "OPSCONSOLE_MAPPING", "OPSCONSOLE_COLUMNS"
SHORT_FORM_ACCEPTS = (
    "jobs.customer_id",
    "jobs.package_size",
    "jobs.priority_level",
    "worker_heartbeats.last_heartbeat",
)
LONGEST_FILE = 100_000
# Without these nothing can be said of a row.
_INDISPENSABLE = frozenset({"jobs.id", "jobs.status", "worker_heartbeats.worker_id"})
_TABLE_KEYS = ("schema", "table", "columns", "times")
_KEYS: Dictionary[str, tuple[str, ...]] = MappingProxyType(
    {
        "jobs": (*_TABLE_KEYS, "id_type", "statuses", "queues", "life"),
        "worker_heartbeats": (*_TABLE_KEYS, "id_type", "absent"),
        "rate_limit_requests": (*_TABLE_KEYS, "absent"),
    }
)


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


def of_environment(environment: Environment) -> Mapping:
    """Return the mapping that the variables of the environment name."""
    return read(environment.text(VARIABLE), environment.columns(SHORT_FORM, SHORT_FORM_ACCEPTS))


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
    refuse_unknown_keys("", tables, tuple(_KEYS))
    built: dict[str, Any] = {}
    for name, keys in _KEYS.items():
        content = checked_table(name, tables.get(name, {}))
        refuse_unknown_keys(name, content, keys)
        common = _table(name, content)
        common |= {"id_type": checked_id_type(name, content["id_type"])} if "id_type" in content else {}
        built[name] = Jobs(**common, **of_jobs(content)) if name == "jobs" else Table(**common)
    found = Mapping(**built)
    _refuse_one_table_for_two(found)
    _refuse_life_without_evidence(found)
    return found


def _table(name: str, content: dict[str, Any]) -> dict[str, Any]:
    absent = content.get("absent", False)
    if not isinstance(absent, bool):
        raise MappingError(f"[{name}] absent must be true or false, not {shown(absent)}.")
    if absent and len(content) > 1:
        raise MappingError(
            f"[{name}] absent = true says that there is no such table. Leave out the other keys."
        )
    columns, missing = _columns(name, checked_table(f"{name}.columns", content.get("columns", {})))
    times = _times(name, checked_table(f"{name}.times", content.get("times", {})), missing)
    return {
        "contract": name,
        "schema": checked_name(f"[{name}] schema", content["schema"]) if "schema" in content else None,
        "table": checked_name(f"[{name}] table", content["table"]) if "table" in content else None,
        "columns": columns,
        "absent_columns": missing,
        "times": times,
        "absent": absent,
    }


def _columns(table: str, content: dict[str, Any]) -> tuple[Dictionary[str, str], frozenset[str]]:
    known = contract_words.CONTRACT_COLUMNS[table]
    refuse_unknown_keys(f"{table}.columns", content, known)
    missing = frozenset(column for column, actual in content.items() if actual is False)
    for column in missing:
        if f"{table}.{column}" in _INDISPENSABLE:
            raise MappingError(
                f"[{table}.columns] {column} can't be false: no row means anything without it."
            )
    renamed = {
        column: checked_name(f"[{table}.columns] {column}", actual)
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
        if column in contract_words.OWN_COLUMNS[table]:
            raise MappingError(
                f"[{table}.columns] {contract_name} names {column!r}, a column that the console adds itself."
            )
        if column in taken:
            raise MappingError(
                f"[{table}.columns] {contract_name} and {taken[column]} both name the column {column!r}."
            )
        taken[column] = contract_name


def _times(table: str, content: dict[str, Any], missing: Collection[str]) -> Dictionary[str, Time]:
    refuse_unknown_keys(f"{table}.times", content, contract_words.TIMES[table])
    for column in content:
        if column in missing:
            raise MappingError(
                f"[{table}.times] {column} has a kind, but [{table}.columns] says that there is none."
            )
    return MappingProxyType(
        {column: checked_time(f"[{table}.times] {column}", kind) for column, kind in content.items()}
    )


def _refuse_life_without_evidence(found: Mapping) -> None:
    told_by, jobs, beats = found.jobs.life.told_by, found.jobs, found.worker_heartbeats
    if told_by == contract_words.UPDATED_AT and not jobs.has("updated_at"):
        raise MappingError('[jobs.life] told_by = "updated_at", but [jobs.columns] says that there is none.')
    if told_by == contract_words.WORKER_BEATS and beats.absent:
        raise MappingError(
            '[jobs.life] told_by = "worker_beats", but [worker_heartbeats] says that there is none.'
        )
    if told_by == contract_words.BEATS and not beats.absent and not beats.has("current_job_id"):
        raise MappingError(
            "[worker_heartbeats.columns] current_job_id = false: heartbeats that name no job need [jobs.life] told_by = "
            '"worker_beats", or another sign of life.'
        )


def _refuse_one_table_for_two(found: Mapping) -> None:
    for one, other in _pairs(found.tables):
        same = (one.schema, one.name) == (other.schema, other.name)
        if same and not one.absent and not other.absent:
            raise MappingError(
                f"[{other.contract}] names {other.name}, the table that [{one.contract}] has already."
            )


def _pairs(tables: tuple[Table, ...]) -> Iterable[tuple[Table, Table]]:
    return ((one, other) for place, one in enumerate(tables) for other in tables[place + 1 :])
