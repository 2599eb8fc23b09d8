"""Tests of the audit log: who did what, why and with what result; exportable and read-only."""

from __future__ import annotations

import csv
import io
import json
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import InternalError, ProgrammingError, connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils.html import strip_tags

from jobs.admin.bulk import operation_results
from jobs.bulk.registry import KINDS
from jobs.models import BulkMember, BulkOperation, ReplayAttempt, Status
from opsconsole.kit import audit, exports
from opsconsole.kit.audit import AuditParts
from opsconsole.kit.display import NOTHING
from tests import people
from tests.factories import dead_letter, job
from tests.page_costs import fewest_statements

LIST = reverse("admin:admin_logentry_changelist")


@pytest.fixture
def viewer(client: Client) -> Client:
    client.force_login(people.viewer())
    return client


def text_of(response: Any) -> str:
    return b"".join(response.streaming_content).decode()


def test_older_lines_hold_all_parts_in_one_text() -> None:
    told = AuditParts.of("Requeued.\nWhy: the customer called\nResult: Queued for run 2.")
    assert told == AuditParts("Requeued.", "the customer called", "Queued for run 2.")
    assert AuditParts.of("Changed Groups.") == AuditParts("Changed Groups.")


@pytest.mark.django_db
def test_reason_stands_in_a_field_of_its_own() -> None:
    reason = "because\nResult: all well\x00"
    audit.log(people.operator(), [job()], "Requeued.", why=reason, result="Queued for run 2.")
    entry = LogEntry.objects.get(detail__reason="because Result: all well")
    assert entry.change_message == "Requeued."
    assert audit.parts_of(entry) == AuditParts("Requeued.", "because Result: all well", "Queued for run 2.")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "change", ["UPDATE django_admin_log SET change_message = ''", "DELETE FROM django_admin_log"]
)
def test_audit_log_is_read_only(change: str) -> None:
    audit.log(people.operator(), [job()], "Requeued.", why="the customer called")

    with pytest.raises((ProgrammingError, InternalError), match="append-only"), transaction.atomic():
        connection.cursor().execute(change)
    assert LogEntry.objects.get().change_message.startswith("Requeued.")


@pytest.mark.django_db
def test_users_are_deactivated_and_not_deleted(client: Client) -> None:
    olga = people.operator()
    audit.log(olga, [job()], "Requeued.", why=audit.NOT_ASKED)
    client.force_login(people.operator("otto"))

    assert client.post(reverse("admin:auth_user_delete", args=[olga.pk]), {"post": "yes"}).status_code == 403
    assert User.objects.filter(pk=olga.pk).exists()


@pytest.mark.django_db
def test_list_shows_entries_and_filters_by_actor_and_subject(viewer: Client) -> None:
    made, olga = job(), people.operator()
    audit.log(olga, [made], "Requeued.", why="<b>angry</b> customer", result="Queued for run 2.")
    audit.log(people.operator("otto"), [olga], "Changed.", why="asked by Vera")

    page = viewer.get(LIST, {"who": "olga", "object": "jobs.job"}).content.decode()

    assert "&lt;b&gt;angry&lt;/b&gt; customer" in page
    assert "Queued for run 2." in page
    assert reverse("admin:jobs_job_change", args=[made.pk]) in page
    assert viewer.get(LIST, {"q": str(made.pk)}).context["cl"].result_count == 1
    assert viewer.get(LIST, {"q": "otto"}).context["cl"].result_count == 1
    assert viewer.get(LIST, {"object": "no.such"}).context["cl"].result_count == 0
    assert viewer.get(LIST, {"reason": "given"}).context["cl"].result_count == 2
    assert viewer.get(LIST, {"reason": "none"}).context["cl"].result_count == 0


@pytest.mark.django_db
def test_export_respects_filters(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "PAGE", 2)
    made, olga = job(), people.operator()
    for number in range(5):
        audit.log(olga, [made], f"=HYPERLINK({number})", why="why", result="result")
    audit.log(people.operator("otto"), [made], "Changed.", why=audit.NOT_ASKED)

    as_csv = viewer.get(reverse("admin:audit_export", args=["csv"]), {"who": "olga"})
    as_json = viewer.get(reverse("admin:audit_export", args=["json"]), {"who": "olga"})

    rows = list(csv.DictReader(io.StringIO(text_of(as_csv))))
    assert [row["what"] for row in rows] == [f"'=HYPERLINK({number})" for number in (4, 3, 2, 1, 0)]
    assert {row["why"] for row in rows} == {"why"}
    assert "attachment" in as_csv.headers["Content-Disposition"]
    assert [row["what"] for row in json.loads(text_of(as_json))] == [
        f"=HYPERLINK({n})" for n in (4, 3, 2, 1, 0)
    ]


@pytest.mark.django_db
def test_empty_export_is_valid(viewer: Client) -> None:
    response = viewer.get(reverse("admin:audit_export", args=["json"]), {"who": "olga"})

    assert json.loads(text_of(response)) == []


@pytest.mark.django_db
def test_export_needs_the_permission_and_a_form_that_exists(client: Client, viewer: Client) -> None:
    assert viewer.get(reverse("admin:audit_export", args=["xml"])).status_code == 404
    nobody = people.viewer("nobody")
    nobody.user_permissions.clear()
    client.force_login(nobody)
    assert client.get(reverse("admin:audit_export", args=["csv"])).status_code == 403


@pytest.mark.django_db
def test_lines_say_what_became_of_jobs_and_letters(client: Client) -> None:
    ada = people.operator()
    helped, failed = job(status=Status.COMPLETED), job(status=Status.FAILED)
    letter = dead_letter(helped, state="replayed")
    ReplayAttempt.objects.create(
        letter=letter, action="replay", state="done", job_epoch=1, reason="r", actor="a"
    )
    audit.log(ada, [helped, failed], "Requeued.", why="w")
    audit.log(ada, [letter], "Marked for replay.", why="w")
    audit.log(ada, [failed], "Cancelled.", why="w")
    client.force_login(ada)

    lines = client.get(LIST).context["cl"].result_list

    assert [str(line.became).count("Completed") for line in lines] == [0, 1, 0, 1]
    assert ["Failed again" in str(line.became) for line in lines] == [False, False, True, False]
    blind = User.objects.create_user("audit only", is_staff=True)
    blind.user_permissions.add(Permission.objects.get(codename="view_logentry"))
    client.force_login(blind)
    page = client.get(LIST).content.decode()
    assert "Completed" not in page and "Failed again" not in page


@pytest.mark.django_db
@pytest.mark.parametrize("did", ["Marked for replay.", "Replayed with an edited body."])
def test_line_of_each_replay_says_what_became_of_it(client: Client, did: str) -> None:
    ada, made = people.operator(), job(status=Status.COMPLETED)
    letter = dead_letter(made, state="replayed")
    ReplayAttempt.objects.create(
        letter=letter, action="replay", state="done", job_epoch=1, reason="r", actor="a"
    )
    audit.log(ada, [letter], did, why="w")
    client.force_login(ada)

    [line] = client.get(LIST).context["cl"].result_list

    assert "Completed" in line.became


@pytest.mark.django_db
def test_line_of_an_edit_that_started_the_job_again_says_as_what_it_failed(client: Client) -> None:
    ada = people.operator()
    edited = job(status=Status.FAILED, error_message="TypeError: no\nstreet " + "x" * 500)
    waiting = job(status=Status.FAILED)
    audit.log(ada, [edited], "Edited the payload and started the job again.", why="w")
    # It failed for the first time, if at all.
    audit.log(ada, [waiting], "Edited the payload.", why="w")
    client.force_login(ada)

    of_waiting, of_edited = client.get(LIST).context["cl"].result_list

    assert of_waiting.became == NOTHING
    assert words(of_edited.became).startswith("Failed again; TypeError: no street xxx")
    assert len(words(of_edited.became)) < 150


def bulk(*subjects: str, action: str = "requeue", **fields: Any) -> BulkOperation:
    """Return an operation that has ended, with these members done, and the line of the audit that it was begun."""
    number = fields.pop("done", len(subjects))
    ended = BulkOperation.objects.create(
        action=action,
        state=BulkOperation.State.ENDED,
        scope="all",
        will=number,
        done=number,
        actor="ada",
        **fields,
    )
    BulkMember.objects.bulk_create(
        BulkMember(operation=ended, subject=subject, outcome=BulkMember.Outcome.DONE, will=True)
        for subject in subjects
    )
    audit.log(User.objects.get(username="olga"), [ended], "Begun: 5 jobs.", why="w")
    return ended


def words(shown: Any) -> str:
    return " ".join(strip_tags(str(shown).replace("</span>", "; ")).split())


@pytest.mark.django_db
def test_line_of_a_bulk_operation_says_what_became_of_its_members(client: Client) -> None:
    ada = people.operator()
    again = [job(status=Status.FAILED), job(status=Status.QUARANTINED)]
    jobs = [*again, *(job(status=Status.COMPLETED) for _ in range(3)), job(status=Status.PENDING)]
    bulk(*(str(each.pk) for each in jobs))
    letter = dead_letter(jobs[2], state="replayed")
    ReplayAttempt.objects.create(
        letter=letter, action="replay", state="done", job_epoch=1, reason="r", actor="a"
    )
    replayed = bulk(str(letter.pk), action="replay")
    audit.log_download(ada, "the members as CSV", [replayed])
    bulk(*(str(each.pk) for each in jobs), action="cancel")
    client.force_login(ada)

    cancelled, download, of_letters, of_jobs = client.get(LIST).context["cl"].result_list

    assert words(of_jobs.became) == "3 completed; 2 failed again; 1 still waiting or running;"
    assert words(of_letters.became) == "1 completed;"
    # A cancellation has no outcome to wait for, and a download did nothing to the members.
    assert cancelled.became == download.became == NOTHING


@pytest.mark.django_db
def test_members_of_large_operations_are_counted_on_their_page(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.force_login(people.operator())
    monkeypatch.setattr(operation_results, "MOST_MEMBERS", 2)
    older = bulk(str(job(status=Status.COMPLETED).pk))
    newer = bulk(str(uuid4()), done=48_212)

    of_newer, of_older = client.get(LIST).context["cl"].result_list

    assert words(of_older.became) == "1 completed;"
    assert words(of_newer.became) == "See what became of 48,212"
    assert f"/{newer.pk}/change/#results" in of_newer.became and older.pk < newer.pk


@pytest.mark.django_db
def test_results_cost_the_same_for_any_number_of_operations(client: Client) -> None:
    client.force_login(people.operator())
    failed = str(job(status=Status.FAILED).pk)
    bulk(failed)
    of_one = fewest_statements(client, LIST)
    for _ in range(10):
        bulk(failed)
    of_many = fewest_statements(client, LIST)

    assert client.get(LIST).content.decode().count("1 failed again") == 11
    assert len(of_many) == len(of_one)


@pytest.mark.django_db
def test_page_with_every_kind_of_action_asks_at_most_twelve_statements(client: Client) -> None:
    ada = people.operator()
    made = job(status=Status.COMPLETED)
    letter = dead_letter(made, state="replayed")
    ReplayAttempt.objects.create(
        letter=letter, action="replay", state="done", job_epoch=1, reason="r", actor="a"
    )
    subjects = {"requeue": made, "release": made, "replay": letter}
    for action, row in subjects.items():
        bulk(str(row.pk), action=action)
        audit.log(ada, [row], f"{KINDS[action].done_word.capitalize()}.", why="w")
    client.force_login(ada)

    # As served, without the savepoints that a transaction is within the test's.
    asked = [sql for sql in fewest_statements(client, LIST) if "SAVEPOINT" not in sql.split('"')[0]]

    lines = client.get(LIST).context["cl"].result_list
    assert ["completed" in str(line.became).lower() for line in lines] == [True] * 6
    assert len(asked) <= 12, asked


@pytest.mark.django_db
@pytest.mark.parametrize("unseen", ["view_job", "view_bulkoperation"])
def test_who_may_not_see_jobs_or_operations_reads_no_results_of_them(client: Client, unseen: str) -> None:
    people.operator()
    bulk(str(job(status=Status.COMPLETED).pk))
    blind = people.viewer()
    blind.user_permissions.remove(Permission.objects.get(codename=unseen))
    client.force_login(blind)

    page = client.get(LIST).content.decode()

    assert "Begun: 5 jobs." in page and "completed" not in page
