"""The values of the mapping file, each checked: names, words and kinds of times. A sentence names the place of a wrong one."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any
from zoneinfo import ZoneInfo

from opsconsole_worker.errors import InvalidSetting
from opsconsole_worker.mapping.contract_words import ID_TYPES, LONGEST_WORD, TIME_KINDS, WITHOUT_ZONE
from opsconsole_worker.mapping.mapped_tables import Time

LONGEST_NAME_BYTES = 63
# What some way of quoting a name would not survive.
_AMBIGUOUS = frozenset('"%\0{}\\')


class MappingError(InvalidSetting):
    """A mapping that is not a mapping, or that contradicts itself. The text is one or two sentences."""


def checked_time(place: str, value: object) -> Time:
    """Return how a column holds its times."""
    kind, _, zone = value.partition(":") if isinstance(value, str) else ("", "", "")
    if kind == WITHOUT_ZONE and zone:
        try:
            ZoneInfo(zone)
        except (ValueError, OSError, KeyError) as error:
            raise MappingError(
                f"{place} names {zone[:80]!r}, which is no time zone such as Europe/Berlin."
            ) from error
        return Time(kind, zone)
    if kind not in TIME_KINDS or zone or str(value).endswith(":"):
        accepted = '"without_zone", "without_zone:Europe/Berlin", "epoch_seconds" or "epoch_milliseconds"'
        raise MappingError(f"{place} must be {accepted}, not {shown(value)}.")
    return Time(kind)


def checked_id_type(table: str, value: object) -> str:
    """Return the type of ids."""
    if value not in ID_TYPES:
        raise MappingError(f"[{table}] id_type must be one of {', '.join(ID_TYPES)}, not {shown(value)}.")
    return str(value)


def checked_words(place: str, value: object) -> tuple[str, ...]:
    """Return words of theirs."""
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise MappingError(
            f'{place} must be a list of words such as ["queued", "scheduled"], not {shown(value)}.'
        )
    for word in value:
        if not word or len(word) > LONGEST_WORD or set(word) & set("%\0{}"):
            raise MappingError(
                f"{place} must consist of words of 1 to {LONGEST_WORD} characters other than % {{ }}."
            )
    if len(set(value)) < len(value):
        raise MappingError(f"{place} names a word twice.")
    return tuple(value)


def refuse_unknown_keys(place: str, content: Iterable[str], accepted: Collection[str]) -> None:
    """Refuse a key that means nothing."""
    unknown = next((key for key in content if key not in accepted), None)
    if unknown is not None:
        where = f"[{place}]" if place else "It"
        raise MappingError(f"{where} has an unknown key {unknown[:80]!r}. Accepted: {', '.join(accepted)}.")


def checked_table(place: str, value: object) -> dict[str, Any]:
    """Return a table of the file."""
    if not isinstance(value, dict):
        raise MappingError(f"[{place}] must be a table of keys and values, not {shown(value)}.")
    return value


def checked_name(place: str, value: object) -> str:
    """Return the name of a schema, table or column: neither of the excluded characters survives all quoting."""
    if not isinstance(value, str):
        raise MappingError(f"{place} must be a name, not {shown(value)}.")
    if not value or len(value.encode()) > LONGEST_NAME_BYTES or set(value) & _AMBIGUOUS:
        raise MappingError(
            f'{place} must be a name of 1 to {LONGEST_NAME_BYTES} bytes without the characters " % \\ {{ }}, not {shown(value)}.'
        )
    return value


def shown(value: object) -> str:
    """Return a wrong value for a sentence."""
    return repr(value)[:80]
