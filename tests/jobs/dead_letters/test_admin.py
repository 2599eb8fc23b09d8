"""Tests of the pages of dead letters: database only, no secrets shown, permissions enforced."""

from __future__ import annotations

import html
import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from django_q.models import OrmQ

from jobs.admin.dead_letters import failure_groups, letter_actions
from jobs.dead_letters import fingerprint, own_words
from jobs.models import DeadLetter, FailureGroup, JobEvent, ReplayAttempt, Status
from jobs.operations import previews
from opsconsole.kit import audit, pauses
from opsconsole.kit.line_diffs import digest_of
from opsconsole_worker import sqs
from opsconsole_worker.environment import QueueConfig
from tests import people
from tests.factories import DAY, dead_letter, dead_letter_queue, failure_group, job
from tests.page_costs import fewest_statements
from tests.page_text import spaced
from tests.sending import send, versions_on

pytestmark = pytest.mark.django_db

LIST = reverse("admin:jobs_deadletter_changelist")
REASON = "the directory is back"
State = DeadLetter.State


@pytest.fixture(autouse=True)
def no_sqs(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if a page calls SQS."""

    def refuse(*args: Any, **options: Any) -> None:
        raise AssertionError("a page asked SQS")

    monkeypatch.setattr(sqs, "client_for", refuse)
    url = "https://sqs.us-east-1.amazonaws.com/123456789012/default"
    settings.QUEUES = {"default": QueueConfig("default", url, f"{url}-dlq")}
    settings.AWS_ENDPOINT_URL = None


def page_of(letter: DeadLetter) -> str:
    return reverse("admin:jobs_deadletter_change", args=[letter.pk])


def operate(action: str) -> str:
    return reverse("admin:jobs_deadletter_operate", args=[action])


def edit(letter: DeadLetter) -> str:
    return reverse("admin:jobs_deadletter_edit", args=[letter.pk])


def shown(client: Client, query: str = "") -> list[Any]:
    return [letter.pk for letter in client.get(LIST + query).context["cl"].result_list]


def carry_out(client: Client, action: str, letter: DeadLetter) -> Any:
    preview = client.get(operate(action), {"id": str(letter.pk)})
    return client.post(operate(action), {"plan": preview.context["form"].initial["plan"], "reason": REASON})


def test_list_shows_columns_for_operators(operator: Client) -> None:
    made = job(status=Status.FAILED, customer_id="ADA")
    letter = dead_letter(made, age=3.5 * DAY, views=2, returns=2)
    dead_letter_queue(seen=1_200, about=5_000, full=False, visible=5_000)

    page = spaced(operator.get(LIST).content.decode())

    for text in (
        str(letter.pk)[:8],
        "ConnectionError: the directory did not answer",
        "Came back twice",
        str(made.pk)[:8],
        '<a href="/admin/customer/?id=ADA">ADA</a>',
        "Failed",
        "3 d 12 h ago",
        "in 11 h",
        "1,200 of about 5,000 seen",
        "5,000 in the queue",
        "View DLQ",
        "Check now",
    ):
        assert text in page, text
    assert '<span class="soon"><time' in page


def test_letter_with_days_left_is_not_marked_urgent(operator: Client) -> None:
    dead_letter()

    assert '<span class="soon"><time' not in operator.get(LIST).content.decode()


def test_undecided_letters_come_first_and_others_by_the_filter(operator: Client) -> None:
    letters = {state: dead_letter(state=state) for state in State}

    assert set(shown(operator)) == {letters[state].pk for state in DeadLetter.OPEN}
    assert shown(operator, "?state=discarded") == [letters[State.DISCARDED].pk]
    assert len(shown(operator, "?state=all")) == len(State)
    assert shown(operator, "?state=nonsense") == []


def test_filters_by_group_time_left_queue_and_dead_letter_queue(operator: Client) -> None:
    other = dead_letter_queue("slow")
    first = dead_letter(age=3.5 * DAY)
    second = dead_letter(queue="slow", dlq=other, group=failure_group("KeyError"))

    assert shown(operator, f"?group={second.group_id}") == [second.pk]
    assert shown(operator, "?left=day") == [first.pk]
    assert shown(operator, "?queue=slow") == [second.pk]
    assert shown(operator, f"?dlq={other.pk}") == [second.pk]
    for query in ("?group=99999999999999999999", "?dlq=x", "?left=x"):
        assert shown(operator, query) == []


def test_search_by_words_and_ids(operator: Client) -> None:
    from jobs.dead_letters import search_text

    bakery = dead_letter(body='{"business": "bakery"}')
    made = dead_letter(job(status=Status.FAILED))
    search_text.catch_up()

    assert shown(operator, "?q=bakery") == [bakery.pk]
    assert shown(operator, f"?q={made.message_id}") == [made.pk]
    assert shown(operator, f"?q={str(made.pk)[:8]}") == [made.pk]
    assert shown(operator, "?q=nothing+like+it") == []


def test_empty_list_explains_itself(operator: Client) -> None:
    page = operator.get(LIST).content.decode()

    assert "A message goes to a dead letter queue when its job failed for good" in page
    assert "No dead letter queue has been checked yet" in page


def test_list_names_queues_that_are_unreadable_or_unchecked(operator: Client) -> None:
    dead_letter_queue(error="no permission", checked_at=Now() - DAY)

    page = operator.get(LIST).content.decode()

    assert "unknown in the queue" in page
    assert "no permission" in page
    assert '<span class="soon">checked' in page


def test_list_reads_no_bodies_and_has_constant_query_count(operator: Client) -> None:
    for number in range(5):
        dead_letter(job(status=Status.FAILED), body=json.dumps({"n": number}))
    few = fewest_statements(operator, LIST)
    for _ in range(20):
        dead_letter(job(status=Status.FAILED))
    many = fewest_statements(operator, LIST)

    assert len(many) == len(few)
    assert not any('"dead_letters"."body"' in each for each in many)


def test_letter_page_shows_full_history(operator: Client) -> None:
    made = job(status=Status.FAILED, customer_id="ADA")
    group = failure_group(note="ask the directory's owner")
    first = dead_letter(made, state=State.REPLAYED, group=group)
    letter = dead_letter(
        made,
        group=group,
        returned_from=first,
        returns=1,
        attributes={"tenant": {"type": "String", "value": "blue"}},
        system_attributes={"SenderId": "AIDA"},
    )
    ReplayAttempt.objects.create(
        letter=letter,
        action="replay",
        state="not_done",
        actor="operator:olga",
        reason="first try",
        outcome="AccessDenied",
        ended_at=Now(),
    )

    page = operator.get(page_of(letter)).content.decode()

    for text in (
        "Why did it fail?",
        "ask the directory&#x27;s owner",
        "Came back once",
        str(first.pk)[:8],
        "ADA",
        "Open the job’s timeline",
        "tenant",
        "blue",
        "AIDA",
        "first try",
        "AccessDenied",
        '<span class="actor">olga</span>',
        f"{operate('replay')}?id={letter.pk}",
        f"{operate('discard')}?id={letter.pk}",
    ):
        assert text in page, text
    assert str(letter.pk)[:8] in operator.get(page_of(first)).content.decode()


def test_body_is_escaped_bounded_and_can_be_downloaded(operator: Client) -> None:
    letter = dead_letter(body="<script>alert(1)</script>" + "x" * 200_000)

    page = operator.get(page_of(letter)).content.decode()
    whole = operator.get(reverse("admin:jobs_deadletter_body", args=[letter.pk]))

    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert len(page) < 130_000
    assert "Only the beginning is shown." in page
    assert whole.content.decode() == letter.body
    assert whole["Content-Type"] == "text/plain; charset=utf-8"
    assert whole["Content-Disposition"].startswith("attachment;")
    assert whole["X-Content-Type-Options"] == "nosniff"


def test_secrets_are_hidden_on_every_page(operator: Client, settings: Any) -> None:
    settings.OPSCONSOLE_REDACT_PATHS = ["$.card"]
    settings.OPSCONSOLE_EDIT_DEAD_LETTERS = True
    letter = dead_letter(body='{"card": "4111 1111", "n": 1}')
    carry_out(operator, "discard", letter)
    carry_out(operator, "restore", letter)

    pages = [
        operator.get(page_of(letter)),
        operator.get(LIST),
        operator.get(edit(letter)),
        send(operator, edit(letter), {"body": '{"card": "[redacted]", "n": 2}', "reason": REASON}),
        operator.get(reverse("admin:jobs_deadletter_body", args=[letter.pk])),
    ]

    for response in pages:
        assert response.status_code == 200
        assert "4111 1111" not in response.content.decode()


def test_replay_asks_for_reason_and_leaves_work_to_cluster(operator: Client) -> None:
    letter = dead_letter()
    preview = operator.get(operate("replay"), {"id": str(letter.pk)})
    assert "Will be sent to the queue default" in preview.content.decode()
    assert not ReplayAttempt.objects.exists()

    plan = preview.context["form"].initial["plan"]
    without = operator.post(operate("replay"), {"plan": plan, "reason": " "})
    assert "Give a reason" in without.content.decode()
    assert not ReplayAttempt.objects.exists()

    done = operator.post(operate("replay"), {"plan": plan, "reason": REASON})
    assert "The cluster carries out such decisions within a minute" in done.content.decode()
    row = ReplayAttempt.objects.get()
    assert (row.actor, row.reason, row.state) == ("operator:olga", REASON, "wanted")
    assert REASON in audit.parts_of(LogEntry.objects.get(object_id=str(letter.pk))).why
    assert OrmQ.objects.count() == 1

    twice = operator.post(operate("replay"), {"plan": plan, "reason": REASON})
    # The page that is loaded again says what was done.
    assert twice.context["title"] == done.context["title"] == "1 dead letter marked for replay"
    assert "Nothing was done" not in twice.content.decode()
    assert ReplayAttempt.objects.count() == 1


def test_result_that_is_opened_later_says_what_became_of_it(
    operator: Client, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    letter = dead_letter(job(status=Status.FAILED))
    page = operator.get(operate("replay"), {"id": str(letter.pk)}).context
    plan, address = page["form"].initial["plan"], page["address"]
    assert "Replay 1 dead letter?" in operator.get(address).text, "nothing was done yet"
    done = operator.post(address, {"plan": plan, "reason": REASON})
    assert done.context["title"] == "1 dead letter marked for replay"
    DeadLetter.objects.update(state=State.REPLAYED)

    monkeypatch.setattr(previews, "PREVIEW_LASTS", timedelta(seconds=-1))
    for later in (operator.get(address), operator.post(address, {"plan": plan, "reason": REASON})):
        assert (later.status_code, later.context["title"]) == (200, "1 dead letter marked for replay")
        assert "Did it help?" in later.text and "Nothing was" not in later.text
        assert "within a minute" not in later.text
    assert ReplayAttempt.objects.count() == 1

    client.force_login(people.operator("oskar"))
    assert "Nothing was" in client.post(address, {"plan": plan, "reason": REASON}).text
    assert "marked for replay" not in client.get(address).context["title"]


@pytest.mark.parametrize(
    ("action", "before", "after"),
    [
        ("discard", State.IN_QUEUE, State.DISCARDED),
        ("restore", State.DISCARDED, State.KEPT),
        ("mark_not_sent", State.OUTCOME_UNKNOWN, State.IN_QUEUE),
    ],
)
def test_other_actions(operator: Client, action: str, before: str, after: str) -> None:
    letter = dead_letter(state=before)

    response = carry_out(operator, action, letter)

    assert response.status_code == 200
    letter.refresh_from_db()
    assert letter.state == after


def test_foreign_or_altered_plan_does_nothing(operator: Client, client: Client) -> None:
    letter = dead_letter()
    plan = operator.get(operate("replay"), {"id": str(letter.pk)}).context["form"].initial["plan"]

    for action, sent in (("discard", plan), ("replay", plan[:-2] + "xx"), ("replay", "")):
        response = operator.post(operate(action), {"plan": sent, "reason": REASON})
        assert response.status_code == 400
        assert "Nothing was done" in response.content.decode()
    client.force_login(people.operator("otto"))
    assert client.post(operate("replay"), {"plan": plan, "reason": REASON}).status_code == 400
    assert not ReplayAttempt.objects.exists()


@pytest.mark.parametrize("query", ["?id=nonsense", ""])
def test_invalid_ids_raise_no_error(operator: Client, query: str) -> None:
    assert operator.get(operate("replay") + query).status_code in {200, 404}
    assert operator.get(operate("explode")).status_code == 404
    assert operator.get(f"{LIST}not-an-id/change/").status_code == 302


@pytest.mark.parametrize("action", ["replay", "discard", "restore", "mark_sent", "mark_not_sent"])
def test_viewer_sees_no_buttons_and_is_refused(client: Client, action: str, settings: Any) -> None:
    settings.OPSCONSOLE_EDIT_DEAD_LETTERS = True
    client.force_login(people.viewer())
    letter = dead_letter()

    page = client.get(page_of(letter))
    assert page.status_code == 200
    assert page.context["buttons"] == []
    assert "/operate/" not in page.content.decode()
    assert "Check now" not in client.get(LIST).content.decode()
    for response in (
        client.get(operate(action), {"id": str(letter.pk)}),
        client.post(operate(action), {"plan": "x", "reason": REASON}),
        client.post(reverse("admin:jobs_deadletter_check")),
        client.get(edit(letter)),
        client.post(edit(letter), {"body": "x", "reason": REASON, "step": "send"}),
    ):
        assert response.status_code == 403


@pytest.mark.parametrize(
    ("granted", "allowed"),
    [
        ("replay_deadletter", {"replay", "mark_sent", "mark_not_sent"}),
        ("discard_deadletter", {"discard", "restore"}),
        ("edit_deadletter", set()),
    ],
)
def test_each_permission_allows_only_its_own_actions(client: Client, granted: str, allowed: set[str]) -> None:
    client.force_login(people.allowed(granted))
    letter = dead_letter()
    opened = {
        action
        for action in ("replay", "discard", "restore", "mark_sent", "mark_not_sent")
        if client.get(operate(action), {"id": str(letter.pk)}).status_code == 200
    }

    assert opened == allowed


def test_viewing_requires_the_permission(client: Client) -> None:
    from django.contrib.auth.models import User

    user = User.objects.create_user("nina", is_staff=True)
    client.force_login(user)
    letter = dead_letter()

    for url in (LIST, page_of(letter), reverse("admin:jobs_deadletter_body", args=[letter.pk])):
        assert client.get(url).status_code == 403


def test_changes_require_post(operator: Client) -> None:
    letter = dead_letter()

    assert operator.post(page_of(letter), {"state": "gone"}).status_code == 405
    assert operator.get(reverse("admin:jobs_deadletter_check")).status_code == 405


def test_check_now_enqueues_task_for_cluster(operator: Client) -> None:
    response = operator.post(reverse("admin:jobs_deadletter_check"), follow=True)

    assert "The cluster was asked to check" in response.content.decode()
    assert OrmQ.objects.count() == 1


def test_nothing_is_promised_while_checks_are_paused(operator: Client) -> None:
    pauses.begin(pauses.DEAD_LETTER_CHECKS, by="operator:olga", reason="somebody else reads them")
    page = operator.post(reverse("admin:jobs_deadletter_check"), follow=True).content.decode()
    assert "Nothing is checked: checks of dead letters are paused." in page and OrmQ.objects.count() == 0

    preview = operator.get(operate("discard"), {"id": str(dead_letter().pk)})
    plan = preview.context["form"].initial["plan"]
    done = operator.post(operate("discard"), {"plan": plan, "reason": REASON}).content.decode()
    assert "what needs their queue is done when the pause ends" in done and "within a minute" not in done


# -- edit and replay


def edited(body: str) -> dict[str, str]:
    """Return the entries that send this body, after its changes were shown."""
    return {"body": body, "previewed": digest_of(body), "reason": REASON, "step": "send"}


@pytest.fixture
def editing_on(settings: Any) -> None:
    settings.OPSCONSOLE_EDIT_DEAD_LETTERS = True


def test_editing_is_off_by_default(operator: Client) -> None:
    letter = dead_letter()

    assert operator.get(edit(letter)).status_code == 403
    assert "Edit and replay" not in operator.get(page_of(letter)).content.decode()


@pytest.mark.usefixtures("editing_on")
def test_edit_shows_diff_and_ledger_keeps_both_bodies(operator: Client) -> None:
    letter = dead_letter(body='{"order": 4218, "address": ""}')
    fixed = '{"order": 4218, "address": "Main Street 1"}'
    assert "Edit and replay" in operator.get(page_of(letter)).content.decode()
    assert letter.group.title in html.unescape(operator.get(edit(letter)).text)

    preview = send(operator, edit(letter), {"body": fixed, "reason": "", "step": "preview"})
    assert ("added", '+  "address": "Main Street 1"') in preview.context["diff"]
    assert not ReplayAttempt.objects.exists()

    send(operator, edit(letter), edited(fixed))
    row = ReplayAttempt.objects.get()
    assert (row.edited_body, row.letter.body, row.state) == (fixed, letter.body, "wanted")
    page = operator.get(page_of(letter)).content.decode()
    assert "with an edited body" in page
    assert "diff-removed" in page


def test_page_leads_to_where_a_wrong_body_is_mended(client: Client, settings: Any) -> None:
    off, link = (
        "while the setting <code>OPSCONSOLE_EDIT_DEAD_LETTERS</code> is off",
        "Edit the payload of its job",
    )
    failed, foreign = dead_letter(job(status=Status.FAILED)), dead_letter()
    client.force_login(people.operator())
    shown = client.get(page_of(failed)).text
    assert reverse("admin:jobs_job_payload", args=[failed.job_id]) in shown and off not in shown
    assert off in client.get(page_of(foreign)).text and link not in client.get(page_of(foreign)).text
    assert link not in client.get(page_of(dead_letter(job(status=Status.COMPLETED)))).text
    assert link not in client.get(page_of(dead_letter(job(status=Status.FAILED), state="discarded"))).text
    settings.OPSCONSOLE_EDIT_DEAD_LETTERS = True
    assert off not in client.get(page_of(foreign)).text
    settings.OPSCONSOLE_EDIT_DEAD_LETTERS = False
    client.force_login(people.viewer())
    for letter, words in ((failed, link), (foreign, off)):
        assert words not in client.get(page_of(letter)).text


def test_ledger_and_events_of_the_job_are_newest_first(operator: Client) -> None:
    made = job(status=Status.FAILED)
    letter = dead_letter(made)
    for number in (1, 2):
        ReplayAttempt.objects.create(
            letter=letter, action="replay", state="done", actor="operator:ada", reason=f"attempt {number}"
        )
        JobEvent.objects.create(job_id=made.pk, kind="failed", actor="worker:w", reason=f"failure {number}")
    page = operator.get(page_of(letter)).content.decode()
    assert page.index("attempt 2") < page.index("attempt 1")
    assert page.index("failure 2") < page.index("failure 1")


@pytest.mark.usefixtures("editing_on")
def test_only_the_body_whose_changes_were_shown_is_sent(operator: Client) -> None:
    letter = dead_letter(body='{"order": 1}')

    unseen = send(operator, edit(letter), edited('{"order": 2}') | {"body": '{"order": 3}'})

    assert not ReplayAttempt.objects.exists()
    assert "Nothing was saved: this is not what the changes were shown of." in unseen.text
    assert ("added", '+  "order": 3') in unseen.context["diff"]
    assert unseen.context["previewed"] == digest_of('{"order": 3}')


@pytest.mark.usefixtures("editing_on")
@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("", "This field is required."),
        ("  ", "The body is empty"),
        ("{broken", "The letter&#x27;s body is JSON and this one is not"),
        ('{"order": 1}', "The body is unchanged"),
        ('{"order": "\x0b"}', "SQS refuses the character U+000B"),
        ('{"x": "' + "y" * 1_100_000 + '"}', "SQS accepts 1,048,576 at most"),
    ],
)
def test_unsendable_body_is_refused(operator: Client, body: str, problem: str) -> None:
    letter = dead_letter(body='{"order": 1}')

    response = send(operator, edit(letter), edited(body))

    assert problem in response.content.decode()
    assert not ReplayAttempt.objects.exists()


@pytest.mark.usefixtures("editing_on")
def test_shape_of_a_body_is_not_shown_as_an_error(operator: Client) -> None:
    shaped = dead_letter(group=failure_group(kind="shape", title="A JSON object with order"))
    page = operator.get(edit(shaped)).content.decode()
    assert "Nothing in the message says why." in page and 'class="error"' not in page

    failed = dead_letter(group=failure_group(kind="given_reason", title="The address is missing"))
    page = operator.get(edit(failed)).content.decode()
    assert '<pre class="error" tabindex="0">The address is missing</pre>' in page


@pytest.mark.usefixtures("editing_on")
def test_message_of_known_job_cannot_be_edited(operator: Client) -> None:
    made = job(status=Status.FAILED)
    of_job, foreign = dead_letter(made), dead_letter()

    refused = operator.get(edit(of_job)).content.decode()
    assert "cannot be edited and sent" in refused and "from the row of its job" in refused
    discarded = operator.get(edit(dead_letter(state=State.DISCARDED))).content.decode()
    assert "It was discarded: restore it first." in discarded and "its job" not in discarded
    response = send(operator, edit(foreign), edited(json.dumps({"job_id": str(made.pk)})))
    assert "which the console knows" in response.content.decode()
    assert not ReplayAttempt.objects.exists()


@pytest.mark.usefixtures("editing_on")
def test_letter_with_later_decision_is_not_sent(operator: Client) -> None:
    letter = dead_letter()
    version = versions_on(operator.get(edit(letter)))
    DeadLetter.objects.update(state=State.DISCARDED)

    response = operator.post(edit(letter), version | edited('{"order": 2}'))

    assert "It was discarded: restore it first." in response.content.decode()
    assert not ReplayAttempt.objects.exists()


@pytest.mark.usefixtures("editing_on")
def test_edit_keeps_line_endings(operator: Client) -> None:
    letter = dead_letter(body="one\ntwo")

    fields = edited("one\r\nthree") | {"previewed": digest_of("one\nthree")}
    send(operator, edit(letter), fields)

    assert ReplayAttempt.objects.get().edited_body == "one\nthree"


@pytest.mark.usefixtures("editing_on")
def test_editing_needs_its_own_permission_beside_that_of_replaying(client: Client) -> None:
    letter = dead_letter()
    for number, granted in enumerate(
        [("edit_deadletter",), ("replay_deadletter",), ("edit_deadletter", "replay_deadletter")]
    ):
        client.force_login(people.allowed(*granted, name=f"p{number}"))
        assert client.get(edit(letter)).status_code == (200 if len(granted) == 2 else 403)


# -- failure groups


def test_groups_are_listed_with_their_count_and_a_note_can_be_written(operator: Client) -> None:
    group = failure_group()
    for state in (State.IN_QUEUE, State.KEPT, State.DISCARDED):
        dead_letter(state=state, group=group)
    url = reverse("admin:jobs_failuregroup_change", args=[group.pk])

    page = operator.get(reverse("admin:jobs_failuregroup_changelist")).content.decode()
    assert group.title in page
    assert '<span class="badge badge-bad">2</span>' in page

    send(operator, url, {"note": "restart the directory's gateway", "title": "hacked"})
    group.refresh_from_db()
    assert (group.note, group.title) == (
        "restart the directory's gateway",
        "ConnectionError: the directory did not answer",
    )
    assert LogEntry.objects.filter(object_id=str(group.pk)).exists()


def test_page_of_a_group_lists_its_newest_letters(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failure_groups, "MOST_LISTED", 2)
    made = job(status=Status.FAILED, customer_id="ADA")
    oldest, newest, decided = (
        dead_letter(of, first_seen_at=Now() - ago * DAY) for of, ago in ((None, 3), (made, 2), (None, 1))
    )
    DeadLetter.objects.filter(pk=decided.pk).update(state=State.DISCARDED)
    group = decided.group_id

    page = operator.get(reverse("admin:jobs_failuregroup_change", args=[group])).text

    listed = page.split("Newest dead letters")[1]
    assert page_of(newest) in listed and str(made.pk)[:8] in listed and page_of(decided) in listed
    assert '<a href="/admin/customer/?id=ADA">ADA</a>' in listed
    assert "In the queue" in listed and "Discarded" in listed
    assert page_of(oldest) not in listed
    assert f"?group={group}&amp;state=all" in listed
    assert "Show them" in page


def test_page_of_a_group_lists_letters_to_those_who_may_see_them(client: Client) -> None:
    letter = dead_letter(job(status=Status.FAILED, customer_id="ADA"))
    limited = User.objects.create_user("groups only", is_staff=True)
    limited.user_permissions.add(Permission.objects.get(codename="view_failuregroup"))
    client.force_login(limited)
    url = reverse("admin:jobs_failuregroup_change", args=[letter.group_id])

    assert "Newest dead letters" not in client.get(url).text

    limited.user_permissions.add(Permission.objects.get(codename="view_deadletter"))
    page = client.get(url).text
    assert page_of(letter) in page
    assert str(letter.job_id)[:8] not in page and "ADA" not in page
    assert "ADA" not in client.get(LIST).text


def test_page_of_a_group_asks_at_most_twelve_statements(operator: Client) -> None:
    group = failure_group()
    for _ in range(6):
        dead_letter(job(status=Status.FAILED), group=group)
        dead_letter(state=State.REPLAYED, group=group)

    asked = fewest_statements(operator, reverse("admin:jobs_failuregroup_change", args=[group.pk]))

    assert len(asked) <= 12, asked


def test_words_of_the_worker_stand_on_the_page_and_placeholders_are_explained(operator: Client) -> None:
    title = "The body is not JSON: line <n> column <n>."
    why = {"opsconsole_reason": {"type": "String", "value": "The body is not JSON: line 3 column 14."}}
    group = failure_group(title, kind=FailureGroup.Kind.UNREADABLE)
    told, untold = dead_letter(attributes=why, group=group), dead_letter(group=group)
    legend = "&lt;n&gt; stands for a number: it differs between the letters of a group."

    page = operator.get(page_of(told)).text
    assert '<p class="sentence">The body is not JSON: line 3 column 14.</p>' in page
    assert legend not in page

    assert legend in operator.get(page_of(untold)).text
    assert legend in operator.get(reverse("admin:jobs_failuregroup_change", args=[group.pk])).text


ERROR = (
    'ConnectionError: "https://directory.example/4218" did not answer within 30 s\n  at submit (worker.py:12)'
)


def own_error(text: str) -> str:
    return f'<pre class="error" tabindex="0">{html.escape(text)}</pre>'


@pytest.mark.parametrize("told_by", ["job", "event", "body"])
def test_letter_shows_its_own_error_and_not_the_title_of_its_group(operator: Client, told_by: str) -> None:
    of = job(status=Status.FAILED, error_message=ERROR if told_by == "job" else "another error since")
    if told_by == "event":
        JobEvent.objects.create(
            job_id=of.pk, run_epoch=1, kind=JobEvent.Kind.FAILED, actor="worker:w", reason=ERROR
        )
    message = {"job_id": str(of.pk), "run_epoch": 1, "dead_letter_id": str(uuid4()), "reason": ERROR}
    group = failure_group(fingerprint.title_of(FailureGroup.Kind.JOB_ERROR, ERROR))
    letter = dead_letter(of, group=group, body=json.dumps(message) if told_by == "body" else None)

    page = operator.get(page_of(letter)).text

    assert own_error(ERROR) in page
    assert html.escape(group.title) not in page and "stands for" not in page
    assert html.escape(group.title) in operator.get(LIST).text


def test_another_error_of_the_job_is_not_the_one_of_the_letter(operator: Client) -> None:
    of = job(status=Status.FAILED, error_message="KeyError: 'town'", run_epoch=3)
    letter = dead_letter(of, group=failure_group("TimeoutError after <n> s"), run_epoch=1)
    page = operator.get(page_of(letter)).text
    assert '<p class="sentence">TimeoutError after &lt;n&gt; s</p>' in page and "town" not in page


def test_error_of_a_job_is_not_quoted_to_those_who_may_not_see_jobs(client: Client) -> None:
    of = job(status=Status.FAILED, error_message="TimeoutError after 30 s")
    letter = dead_letter(of, group=failure_group("TimeoutError after <n> s"))
    paul = people.viewer("paul")
    paul.user_permissions.remove(Permission.objects.get(codename="view_job"))
    client.force_login(paul)
    page = client.get(page_of(letter)).text
    assert "after 30 s" not in page and "TimeoutError after &lt;n&gt; s" in page


def test_own_error_is_bounded() -> None:
    long = "A word. " * 2_000
    group = failure_group(fingerprint.title_of(FailureGroup.Kind.JOB_ERROR, long))
    words = own_words.of(dead_letter(group=group), job(error_message=long))
    assert len(words) == own_words.LONGEST_SHOWN and words.endswith("…")


def test_letter_of_no_known_job_that_left_its_queue_warns_before_a_replay(
    operator: Client, client: Client
) -> None:
    left = dead_letter(state=State.GONE)
    page = operator.get(page_of(left)).text
    assert (
        "Nothing tells whether its work was done. Check that before you replay it: a replay sends the stored copy"
        in page
    )
    assert 'class="operation operation-replay operation-plain"' in page
    assert "left its queue" not in operator.get(page_of(dead_letter())).text

    client.force_login(people.viewer())
    page = client.get(page_of(left)).text
    assert "Nothing tells whether its work was done." in page and "replay it" not in page


def test_letter_that_left_its_queue_says_what_a_replay_does_with_its_job(operator: Client) -> None:
    failed = dead_letter(job(status=Status.FAILED), state=State.GONE)
    page = operator.get(page_of(failed)).text
    assert "Its job is still failed: a replay runs it again." in page
    assert 'class="operation operation-replay"' in page
    preview = operator.get(operate("replay"), {"id": str(failed.pk)}).text
    assert "The letter then counts as replayed." in preview and "is deleted" not in preview

    done = dead_letter(job(status=Status.COMPLETED), state=State.GONE)
    page = operator.get(page_of(done)).text
    assert "SQS deleted it when its time there was over" in page and "runs it again" not in page
    assert "operation-replay" not in page and "Its job is completed" in page


def test_count_of_large_group_is_bounded(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failure_groups, "MOST_COUNTED", 2)
    for _ in range(4):
        dead_letter()

    assert ">2+</span>" in operator.get(reverse("admin:jobs_failuregroup_changelist")).content.decode()


def test_viewer_can_read_but_not_write_notes(client: Client) -> None:
    client.force_login(people.viewer())
    group = FailureGroup.objects.get(pk=failure_group(note="known").pk)
    url = reverse("admin:jobs_failuregroup_change", args=[group.pk])

    assert "known" in client.get(url).content.decode()
    assert client.post(url, {"note": "x"}).status_code == 403


def test_number_of_previewed_letters_is_bounded(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letter_actions, "MOST_LETTERS", 2)
    letters = [dead_letter() for _ in range(3)]

    response = operator.get(operate("discard"), {"id": [str(each.pk) for each in letters]})

    assert len(response.context["will"]) == 2


def test_age_reads_any_moment_when_past(operator: Client) -> None:
    dead_letter(age=5 * DAY, expires_at=Now() - timedelta(minutes=1))

    assert "any moment" in operator.get(LIST).content.decode()


def test_preview_for_a_group_says_what_was_not_seen(operator: Client) -> None:
    letter = dead_letter()
    dead_letter_queue(seen=15, about=30)

    page = operator.post(
        reverse("admin:jobs_failuregroup_bulk", args=[letter.group_id, "replay"]), follow=True
    )

    assert "About 15 more in the dead letter queue of default were not seen." in page.content.decode()


def test_page_does_not_tell_the_state_of_a_job_to_somebody_who_may_not_see_it(client: Client) -> None:
    made = dead_letter(job(status=Status.COMPLETED))
    paul = people.allowed("replay_deadletter")
    client.force_login(paul)
    assert "Its job is completed" in client.get(page_of(made)).content.decode()

    paul.user_permissions.remove(Permission.objects.get(codename="view_job"))
    page = client.get(page_of(made)).content.decode()
    assert "It cannot be replayed" in page and "completed" not in page
    DeadLetter.objects.update(state=State.DISCARDED)
    assert "It was discarded" in client.get(page_of(made)).content.decode()
