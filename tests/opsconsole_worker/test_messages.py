"""Tests of reading a message body: any input yields a message or a sentence about what is wrong."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from opsconsole_worker.messages import JobMessage, MalformedMessage, parse_body

JOB = UUID("8d1f4c1e-55f4-4a43-9a0f-3b0f6a1c2d3e")
LIMIT = 262_144


def body(**fields: Any) -> str:
    return json.dumps({"job_id": str(JOB)} | fields)


def test_body_has_exactly_the_contract_fields_and_ours_only_when_set() -> None:
    message = JobMessage(
        job_id=JOB, customer_id="c-1", package_size=50, priority="pro", retry=True, reason="x"
    )

    assert message.to_body() == (
        f'{{"job_id":"{JOB}","customer_id":"c-1","package_size":50,"priority":"pro","retry":true,"reason":"x"}}'
    )
    ours = json.loads(JobMessage(job_id=JOB, run_epoch=3, dead_letter_id="d-1").to_body())
    assert ours["run_epoch"] == 3
    assert ours["dead_letter_id"] == "d-1"


def test_body_is_printable_ascii_whatever_the_values_are() -> None:
    written = JobMessage(
        job_id=JOB, customer_id="a\x01\x7f\ufffe\ud800é\U0001f600", reason="\x00\n"
    ).to_body()

    assert all(" " <= character <= "~" for character in written)


storable = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))


@given(
    st.builds(
        JobMessage,
        job_id=st.uuids(),
        customer_id=storable,
        package_size=st.none() | st.integers(-(2**31), 2**31 - 1),
        priority=storable,
        retry=st.booleans(),
        reason=st.none() | storable,
        run_epoch=st.none() | st.integers(1, 2**31 - 1),
        dead_letter_id=st.none() | storable,
    )
)
def test_written_body_is_read_back_unchanged(message: JobMessage) -> None:
    assert parse_body(message.to_body(), LIMIT) == message


def test_job_id_alone_is_enough() -> None:
    assert parse_body(body(), LIMIT) == JobMessage(job_id=JOB)


def test_null_equals_missing() -> None:
    fields = dict.fromkeys(["customer_id", "package_size", "priority", "retry", "reason", "run_epoch"])

    assert parse_body(body(**fields, dead_letter_id=None), LIMIT) == JobMessage(job_id=JOB)


def test_foreign_fields_are_ignored() -> None:
    assert parse_body(body(trace={"a": [1, {"b": "\ud800"}]}, attempt=2), LIMIT) == JobMessage(job_id=JOB)


@pytest.mark.parametrize(("written", "read"), [(42, "42"), (1.50, "1.5"), ("", ""), ("ü", "ü")])
def test_numbers_of_old_producers_become_text(written: object, read: str) -> None:
    message = parse_body(body(customer_id=written, priority=written), LIMIT)

    assert (message.customer_id, message.priority) == (read, read)


@pytest.mark.parametrize("written", [str(JOB), str(JOB).upper(), JOB.hex])
def test_job_id_in_each_form_that_postgresql_prints_or_producers_use(written: str) -> None:
    assert parse_body(json.dumps({"job_id": written}), LIMIT).job_id == JOB


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "The body is not JSON"),
        ("{", "The body is not JSON"),
        ("job 17", "The body is not JSON"),
        ("\ufeff{}", "The body is not JSON"),
        ('{"job_id": NaN}', "NaN is no JSON value"),
        (body(x=float("inf")), "Infinity is no JSON value"),
        (body(x=0)[:-2] + "9" * 5000 + "}", "The body is not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"job_id":' * 20_000, "nested too deeply"),
        ("[]", r"must be a JSON object, not \[\]"),
        ("null", "must be a JSON object, not null"),
        ('"{}"', "must be a JSON object"),
        ("{}", "job_id is missing"),
        ('{"job_id": null}', "job_id is missing"),
        ('{"Type": "Notification", "TopicArn": "arn:...", "Message": "{}"}', "enable raw message delivery"),
        ('{"detail-type": "job", "source": "shop", "detail": {"job_id": 7}}', "EventBridge has wrapped"),
        ('{"job_id": 17}', "job_id must be a UUID, not 17"),
        ('{"job_id": ["a"]}', "job_id must be a UUID"),
        ('{"job_id": "17"}', 'job_id must be a UUID, not "17"'),
        (body(job_id=f"{{{JOB}}}"), "job_id must be a UUID"),
        (body(job_id=f"urn:uuid:{JOB}"), "job_id must be a UUID"),
        (body(job_id=f" {JOB}"), "job_id must be a UUID"),
        (body(job_id="1_2_3_4_5_6_7_8_9_0_1_2_3_4_5_66"), "job_id must be a UUID"),
        (body(job_id="٣" * 32), "job_id must be a UUID"),
        (body(run_epoch=True), "run_epoch must be a whole number from 1 to 2147483647, not true"),
        (body(run_epoch=0), "run_epoch must be a whole number from 1 to"),
        (body(run_epoch=-1), "run_epoch must be a whole number"),
        (body(run_epoch=1.0), "run_epoch must be a whole number"),
        (body(run_epoch="1"), "run_epoch must be a whole number"),
        (body(run_epoch=2**31), "run_epoch must be a whole number"),
        (body(package_size="fifty"), "package_size must be a whole number"),
        (body(package_size=10**30), "package_size must be a whole number"),
        (body(retry="yes"), 'retry must be true or false, not "yes"'),
        (body(retry=1), "retry must be true or false"),
        (body(customer_id=True), "customer_id must be text"),
        (body(customer_id={"id": 1}), "customer_id must be text"),
        (body(customer_id="a\x00b"), "customer_id has a NUL character"),
        (body(dead_letter_id="\ud800"), "dead_letter_id has a NUL character or half a surrogate pair"),
    ],
)
def test_reason_names_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(MalformedMessage, match=reason):
        parse_body(text, LIMIT)


def test_reason_quotes_only_the_beginning_of_a_foreign_value() -> None:
    with pytest.raises(MalformedMessage) as caught:
        parse_body(body(job_id="\x01é" * 10_000), LIMIT)

    assert len(str(caught.value)) < 150
    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()


def test_limit_is_counted_in_bytes_and_included() -> None:
    text = f'{{"job_id":"{JOB}","customer_id":"é"}}'
    size = len(text.encode())

    assert parse_body(text, size).customer_id == "é"
    with pytest.raises(MalformedMessage, match=f"The body is {size} bytes; at most {size - 1} are accepted"):
        parse_body(text, size - 1)


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.uuids().map(str),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
ours = st.sampled_from(
    ["job_id", "customer_id", "package_size", "priority", "retry", "reason", "run_epoch", "dead_letter_id"]
)


@given(
    st.text(st.characters())
    | json_like.map(json.dumps)
    | st.dictionaries(ours, json_like).map(lambda fields: body(**fields))
    | st.dictionaries(ours, json_like).map(json.dumps)
)
@example('{"job_id": "a", "job_id": "b"}')
@example("\ud800")
def test_any_text_yields_message_or_error(text: str) -> None:
    try:
        message = parse_body(text, LIMIT)
    except MalformedMessage as refusal:
        assert str(refusal).endswith(".")
    else:
        assert parse_body(message.to_body(), LIMIT) == message
