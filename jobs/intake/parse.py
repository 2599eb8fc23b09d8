"""Parsing of jobs from JSON: each becomes a ``NewJob`` or is refused with a sentence. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils.dateparse import parse_datetime
from django.utils.timezone import is_aware

from jobs.intake.enqueue import InvalidJob, NewJob, validate
from opsconsole.kit import job_ids
from opsconsole.kit.storable import each_key_once

REQUIRED = {"customer_id", "package_size"}


@dataclass(frozen=True)
class BadLine:
    """A line of a file that is not a job: its number, from 1, and the problem."""

    number: int
    problem: str

    def __str__(self) -> str:
        return f"line {self.number}: {self.problem}"


def parse_lines(lines: Iterable[str]) -> tuple[list[NewJob], list[BadLine]]:
    """Return the jobs of a JSON Lines text, one object per line, and the invalid lines; empty lines are ignored."""
    jobs: list[NewJob] = []
    bad: list[BadLine] = []
    first_line: dict[UUID, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            job = parse_job(_parse_json(line))
        except InvalidJob as error:
            bad.append(BadLine(number, str(error)))
            continue
        first = number if job.id is None else first_line.setdefault(job.id, number)
        if first == number:
            jobs.append(job)
        else:
            bad.append(BadLine(number, f"The id {job.id} is also that of line {first}."))
    return jobs, bad


def parse_job(record: object) -> NewJob:
    """Return the job that this JSON value describes. Raise ``InvalidJob`` when it describes none."""
    if not isinstance(record, Mapping):
        raise InvalidJob(f"A job is a JSON object, not {_json_name(record)}.")
    if unknown := sorted(set(record) - set(FIELDS)):
        raise InvalidJob(f"Unknown field '{unknown[0]}'. Known fields: {', '.join(FIELDS)}.")
    if missing := sorted(REQUIRED - set(record)):
        raise InvalidJob(f"{missing[0]} is missing.")
    job = NewJob(**{name: FIELDS[name](name, value) for name, value in record.items()})
    validate(job)
    return job


def parse_payload(text: str) -> dict[str, Any]:
    """Return the payload in this JSON text. Raise ``InvalidJob`` when it is not a JSON object."""
    return _object("payload", _parse_json(text))


def _parse_json(text: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=each_key_once)
    except (ValueError, RecursionError) as error:
        raise InvalidJob(f"Not JSON: {error}.") from error


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidJob(f"{name} must be text, not {_json_name(value)}.")
    return value


def _number(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidJob(f"{name} must be a whole number, not {_json_name(value)}.")
    return value


def _object(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidJob(f"{name} must be a JSON object, not {_json_name(value)}.")
    return value


def _id(name: str, value: object) -> UUID:
    job_id = job_ids.parse(value)
    if job_id is None:
        raise InvalidJob(f"{name} must be {job_ids.WANTED}.")
    return job_id


def _time(name: str, value: object) -> datetime:
    try:
        time = parse_datetime(_text(name, value))
    except ValueError:
        time = None
    if time is None or not is_aware(time):
        raise InvalidJob(f"{name} must be a time with a time zone, such as 2026-01-31T12:00:00Z.")
    return time


FIELDS: Mapping[str, Callable[[str, object], Any]] = {
    "customer_id": _text,
    "package_size": _number,
    "priority": _text,
    "payload": _object,
    "queue": _text,
    "not_before": _time,
    "deadline_at": _time,
    "id": _id,
}


def _json_name(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
