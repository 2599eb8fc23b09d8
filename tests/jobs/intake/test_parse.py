"""Tests of parsing a producer's job: accepted, or refused with line and reason; no other exception."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.intake.enqueue import InvalidJob
from jobs.intake.parse import parse_job, parse_lines
from opsconsole_worker.environment import QueueConfig

LEAST = {"customer_id": "TEST-001", "package_size": 50}
ID = "0b2f1a52-8f0e-4a58-9a53-0d1f3b9f4c11"


@pytest.fixture(autouse=True)
def queues(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:1/0/default", None)}


def test_all_fields() -> None:
    times = {"not_before": "2030-01-31T12:00:00Z", "deadline_at": "2030-01-31T14:00:00+01:00"}
    job = parse_job(LEAST | times | {"priority": "gold", "payload": {"a": 1}, "queue": "default", "id": ID})
    assert (job.customer_id, job.package_size, job.priority) == ("TEST-001", 50, "gold")
    assert (job.payload, job.queue, job.id) == ({"a": 1}, "default", UUID(ID))
    assert job.not_before == datetime(2030, 1, 31, 12, tzinfo=UTC)
    assert job.deadline_at == datetime(2030, 1, 31, 13, tzinfo=UTC)


def test_key_that_is_twice_is_refused_by_its_name() -> None:
    [bad] = parse_lines(['{"customer_id": "A", "package_size": 1, "payload": {"n": 1, "n": 2}}'])[1]
    assert str(bad) == 'line 1: Not JSON: the key "n" is twice in one object.'


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ([], "A job is a JSON object, not a list."),
        (3, "A job is a JSON object, not a number."),
        (None, "A job is a JSON object, not null."),
        ({}, "customer_id is missing."),
        ({"customer_id": "A"}, "package_size is missing."),
        (LEAST | {"custmer": 1}, "Unknown field 'custmer'. Known fields: customer_id, package_size,"),
        (LEAST | {"customer_id": 7}, "customer_id must be text, not a number."),
        (LEAST | {"package_size": "50"}, "package_size must be a whole number, not text."),
        (LEAST | {"package_size": True}, "package_size must be a whole number, not true or false."),
        (LEAST | {"package_size": 1.5}, "package_size must be a whole number, not a number."),
        (LEAST | {"package_size": 0}, "package_size must be a whole number from 1"),
        (LEAST | {"payload": []}, "payload must be a JSON object, not a list."),
        (LEAST | {"queue": "nowhere"}, "There is no queue named 'nowhere'."),
        (LEAST | {"id": "7"}, "id must be a UUID."),
        (LEAST | {"not_before": "tomorrow"}, "not_before must be a time with a time zone"),
        (LEAST | {"not_before": "2030-01-31T12:00:00"}, "not_before must be a time with a time zone"),
        (LEAST | {"not_before": "2030-02-31T12:00:00Z"}, "not_before must be a time with a time zone"),
    ],
)
def test_invalid_job_is_refused_with_message(record: object, sentence: str) -> None:
    with pytest.raises(InvalidJob) as refused:
        parse_job(record)
    assert sentence in str(refused.value)


def test_bad_lines_are_numbered_and_good_ones_returned() -> None:
    good = json.dumps(LEAST)
    jobs, bad = parse_lines([good, "", "{nonsense", "  ", "[]", good, "[" * 100_000])
    assert len(jobs) == 2
    assert [line.number for line in bad] == [3, 5, 7]
    assert str(bad[1]) == "line 5: A job is a JSON object, not a list."
    assert str(bad[0]).startswith("line 3: Not JSON: ")


def test_duplicate_id_is_refused() -> None:
    line = json.dumps(LEAST | {"id": ID})
    jobs, bad = parse_lines([line, line])
    assert len(jobs) == 1
    assert str(bad[0]) == f"line 2: The id {ID} is also that of line 1."


fields = st.sampled_from(["customer_id", "package_size", "priority", "payload", "queue", "not_before", "id"])
anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())


@given(st.dictionaries(fields, anything).map(json.dumps) | st.text())
def test_every_line_is_parsed_or_reported(line: str) -> None:
    jobs, bad = parse_lines([line])
    assert len(jobs) + len(bad) == (1 if line.strip() else 0)
