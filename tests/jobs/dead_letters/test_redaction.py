"""Tests of redaction: redacted values are hidden wherever a body is shown or searched."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jobs.admin.dead_letters.edit import EditForm
from jobs.dead_letters import editing, redaction, search_text
from jobs.models import DeadLetter
from opsconsole.kit import env
from opsconsole_worker.messages import MalformedMessage, parse_body
from opsconsole_worker.working.poison import POISON_ATTRIBUTE
from tests.factories import dead_letter
from tests.jobs.dead_letters.account import Account, letter

BODY = json.dumps(
    {"customer": {"email": "ada@example.com"}, "items": [{"card": "4111"}, {"card": "4222"}], "n": 1}
)


@pytest.fixture
def paths(settings: Any) -> None:
    settings.OPSCONSOLE_REDACT_PATHS = ["$.customer.email", "$..card"]


@pytest.mark.usefixtures("paths")
def test_values_at_configured_paths_are_hidden() -> None:
    shown = redaction.show(BODY)

    assert shown.is_json
    assert json.loads(shown.text) == {
        "customer": {"email": "[redacted]"},
        "items": [{"card": "[redacted]"}, {"card": "[redacted]"}],
        "n": 1,
    }


@pytest.mark.usefixtures("paths")
def test_body_that_is_not_json_is_hidden_entirely() -> None:
    broken = BODY[:-1]

    assert redaction.show(broken).text == redaction.words(broken) == redaction.HIDDEN
    assert redaction.as_it_is(broken) == redaction.HIDDEN


@pytest.mark.usefixtures("paths")
def test_duplicate_key_shows_only_last_value_redacted() -> None:
    assert "4" not in redaction.show('{"card": "41", "card": "42"}').text


def test_body_is_shown_unchanged_without_paths() -> None:
    assert redaction.show("not JSON <b>").text == "not JSON <b>"
    assert redaction.as_it_is(BODY) == BODY
    assert json.loads(redaction.show(BODY).text) == json.loads(BODY)


def test_long_body_is_truncated_with_notice() -> None:
    shown = redaction.show("x" * 70_000)

    assert (len(shown.text), shown.cut) == (redaction.MOST_SHOWN, True)


@pytest.mark.parametrize(
    "body", ["[" * 100_000, "[" * 300 + "]" * 300, '"\\ud800"', '{"a": "\\ud800"}', "7", '"x"']
)
def test_unusual_documents_raise_no_error(body: str, settings: Any) -> None:
    redaction.show(body).text.encode()
    settings.OPSCONSOLE_REDACT_PATHS = ["$..card"]
    redaction.show(body).text.encode()
    redaction.words(body)


@pytest.mark.usefixtures("paths")
def test_placeholders_left_by_editor_are_replaced_by_original_values() -> None:
    typed = json.loads(redaction.as_it_is(BODY))
    typed["n"] = 2
    typed["items"][1]["card"] = "4333"

    assert json.loads(redaction.put_back(json.dumps(typed), BODY)) == {
        "customer": {"email": "ada@example.com"},
        "items": [{"card": "4111"}, {"card": "4333"}],
        "n": 2,
    }


@pytest.mark.usefixtures("paths")
def test_diff_shows_no_secret() -> None:
    new = BODY.replace("4111", "4999").replace('"n": 1', '"n": 2')

    lines = editing.diff(BODY, new)

    assert [line for kind, line in lines if kind in {"added", "removed"}] == ['-  "n": 1', '+  "n": 2']
    assert "4999" not in str(lines)


@pytest.mark.usefixtures("paths")
def test_attributes_are_hidden_by_name() -> None:
    attributes = {"card": {"type": "String", "value": "4111"}, "tenant": {"type": "Binary", "base64": "AP8="}}

    assert redaction.redact_attributes(attributes) == {"card": "[redacted]", "tenant": "AP8="}


@pytest.mark.django_db
def test_search_finds_words_but_not_secrets(account: Account, settings: Any) -> None:
    settings.OPSCONSOLE_REDACT_PATHS = ["$..card"]
    [message_id] = account.die(json.dumps({"business": "Café Blüte", "card": "4111222233334444"}))
    account.check()

    def found(term: str) -> list[str]:
        return [each.message_id for each in search_text.search(DeadLetter.objects.all(), term, by_job=True)]

    assert found("blüte") == found(message_id) == found(str(letter(message_id).pk)[:8]) == [message_id]
    assert found("4111222233334444") == found("nothing") == []
    assert len(found(" ")) == 1
    assert found("\x00blüte") == [message_id]


@pytest.mark.django_db
def test_job_is_found_by_its_id(account: Account) -> None:
    job_id = "5a3c91d2-7f40-4be1-9d0e-2b6f8c11a901"
    [message_id] = account.die(json.dumps({"job_id": job_id}))
    account.check()

    for term in (job_id, job_id[:8], job_id.replace("-", "")):
        assert [
            each.message_id for each in search_text.search(DeadLetter.objects.all(), term, by_job=True)
        ] == [message_id]


@pytest.mark.django_db
def test_letters_read_before_redaction_are_not_searched_until_rescanned(settings: Any) -> None:
    made = dead_letter(body='{"card": "4111", "business": "bakery"}')
    assert search_text.catch_up() == 1
    assert search_text.search(DeadLetter.objects.all(), "4111", by_job=True).get() == made

    settings.OPSCONSOLE_REDACT_PATHS = ["$.card"]
    assert not search_text.search(DeadLetter.objects.all(), "4111", by_job=True).exists()
    assert not search_text.search(DeadLetter.objects.all(), "bakery", by_job=True).exists()

    assert search_text.catch_up() == 1
    assert search_text.catch_up() == 0
    assert not search_text.search(DeadLetter.objects.all(), "4111", by_job=True).exists()
    assert search_text.search(DeadLetter.objects.all(), "bakery", by_job=True).get() == made


def test_invalid_paths_are_refused_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    from django.core.exceptions import ImproperlyConfigured

    monkeypatch.setenv("OPSCONSOLE_REDACT_PATHS", "$.a, $[")
    with pytest.raises(
        ImproperlyConfigured, match=r"OPSCONSOLE_REDACT_PATHS must be JSON paths .* not '\$\['"
    ):
        env.json_paths("OPSCONSOLE_REDACT_PATHS")

    monkeypatch.setenv("OPSCONSOLE_REDACT_PATHS", "$.a, $..b")
    assert env.json_paths("OPSCONSOLE_REDACT_PATHS") == ["$.a", "$..b"]


NESTED = json.dumps(
    {"Type": "Notification", "Message": json.dumps({"customer": {"email": "ada@example.com"}, "n": 1})}
)


@pytest.mark.usefixtures("paths")
def test_values_in_texts_that_are_documents_are_hidden() -> None:
    """Hide what SNS, EventBridge or a producer put into an envelope as text, also two envelopes deep."""
    for body in (NESTED, json.dumps({"detail": NESTED}), json.dumps([NESTED])):
        assert "ada@example.com" in body
        assert "ada@example.com" not in redaction.show(body).text
        assert "ada@example.com" not in redaction.words(body)


@pytest.mark.usefixtures("paths")
def test_texts_without_anything_to_hide_stay_as_they_are() -> None:
    body = {"Message": '{"n":   1}', "other": "{ not JSON"}
    assert json.loads(redaction.show(json.dumps(body)).text) == body


@pytest.mark.usefixtures("paths")
def test_values_in_texts_are_put_back() -> None:
    offered = redaction.as_it_is(NESTED)
    assert json.loads(redaction.put_back(offered, NESTED)) == json.loads(NESTED)

    typed = json.loads(offered)
    typed["Message"] = typed["Message"].replace('"n": 1', '"n": 2')
    again = json.loads(redaction.put_back(json.dumps(typed), NESTED))
    assert json.loads(again["Message"]) == {"customer": {"email": "ada@example.com"}, "n": 2}


@pytest.mark.django_db
@pytest.mark.usefixtures("paths")
def test_editor_tells_nobody_whether_a_guess_is_right() -> None:
    """Type a guess in place of the placeholder: before, a right one was called unchanged."""
    made = dead_letter(body=json.dumps({"customer": {"email": "ada@example.com"}}))
    told = []
    for guess in ("ada@example.com", "bob@example.com"):
        form = EditForm(made, {"body": made.body.replace("ada@example.com", guess), "reason": "x"})
        told.append((form.is_valid(), form.errors))
    assert told[0] == told[1]
    unchanged = EditForm(made, {"body": redaction.as_it_is(made.body), "reason": "x"})
    assert "The body is unchanged" in str(unchanged.errors)


@pytest.mark.django_db
def test_editor_shows_no_value_whose_condition_was_edited_away(settings: Any) -> None:
    """Change what a path depends on and keep the placeholder: before, the preview showed the value that was put back."""
    settings.OPSCONSOLE_REDACT_PATHS = ['$.items[?(@.type=="card")].number']
    document = {"items": [{"type": "card", "number": "4111"}], "n": 1}
    for body in (json.dumps(document), json.dumps({"Message": json.dumps(document)})):
        made = dead_letter(body=body)
        offered = redaction.as_it_is(body)

        form = EditForm(made, {"body": offered.replace("card", "other"), "reason": "x"})
        assert form.errors["body"] == [editing.WOULD_SHOW]
        kept = offered.replace(": 1", ": 2")
        assert kept != offered
        assert "body" not in EditForm(made, {"body": kept, "reason": "x"}).errors


@pytest.mark.django_db
def test_reason_of_an_unreadable_message_quotes_nothing_from_its_body(
    account: Account, settings: Any
) -> None:
    """Send a job whose customer is no text: before, the attribute told the value, and a long one stood in the title."""
    settings.OPSCONSOLE_REDACT_PATHS = ["$.customer_id"]
    for secret in (True, {"email": "ada@example.com"}, ["ada " * 100]):
        body = json.dumps({"job_id": "5a3c91d2-7f40-4be1-9d0e-2b6f8c11a901", "customer_id": secret})
        with pytest.raises(MalformedMessage) as error:
            parse_body(body, len(body))
        why = {"DataType": "String", "StringValue": str(error.value)}
        [message_id] = account.die(body, MessageAttributes={POISON_ATTRIBUTE: why})
        account.check()
        made = letter(message_id)

        assert made.group.title == 'customer_id must be text, not "…".'
        shown = redaction.redact_attributes(made.attributes)
        assert shown == {POISON_ATTRIBUTE: 'customer_id must be text, not "[redacted]".'}
        settings.OPSCONSOLE_REDACT_PATHS = []
        assert str(error.value) == redaction.redact_attributes(made.attributes)[POISON_ATTRIBUTE]
        settings.OPSCONSOLE_REDACT_PATHS = ["$.customer_id"]
