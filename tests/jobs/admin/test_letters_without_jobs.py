"""Tests of dead letters and bulk operations for people who may not see jobs: pages tell what a message says, not what its job does."""

from __future__ import annotations

import base64
import re
import zlib
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from jobs.admin.bulk.member_lines import JOB_UNSEEN
from jobs.models import BulkOperation, DeadLetter, Job, ReplayAttempt, Status
from opsconsole_worker.environment import QueueConfig
from tests.factories import dead_letter, job

pytestmark = pytest.mark.django_db

# What only the row of a job says: the words of verdicts, and a status that nothing else on the pages has.
OF_JOBS = re.compile(
    r"quarantine|frobnicat|completed|its job is|its job was|its job will|run 1[67]\b", re.IGNORECASE
)
LIST = reverse("admin:jobs_deadletter_changelist")
HELD = ("view_deadletter", "replay_deadletter", "view_failuregroup", "view_bulkoperation")


def client_of(*held: str) -> Client:
    user = User.objects.create_user(f"paul{User.objects.count()}", password="!", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=held))
    client = Client()
    client.force_login(user)
    return client


def text(response: Any) -> str:
    content = b"".join(response.streaming_content) if response.streaming else response.content
    return str(content.decode(errors="replace"))


def of_jobs(response: Any) -> list[str]:
    assert response.status_code == 200
    page = text(response)
    main = page.partition('id="content-main"')[2] or page.partition('id="changelist"')[2] or page
    return OF_JOBS.findall(main)


@pytest.fixture
def letters(settings: Any) -> list[DeadLetter]:
    """Return letters of jobs that can be replayed, that can't, and that came through a replay, and one without a job."""
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:1/0/default", None)}
    jobs = [
        job(status=Status.QUARANTINED, run_epoch=16),
        job(status="frobnicated", run_epoch=16),
        job(status=Status.COMPLETED, run_epoch=16),
    ]
    made = [dead_letter(of) for of in jobs]
    DeadLetter.objects.filter(pk=made[2].pk).update(state="replayed")
    ReplayAttempt.objects.create(
        letter=made[2], action="replay", state="done", actor="x", reason="x", job_epoch=16
    )
    return [*made, dead_letter()]


def test_pages_of_letters_tell_nothing_of_their_jobs(letters: list[DeadLetter]) -> None:
    ids = "&".join(f"id={each.pk}" for each in letters)
    pages = [
        f"{LIST}?state=all",
        *(reverse("admin:jobs_deadletter_change", args=[each.pk]) for each in letters),
        f"{reverse('admin:jobs_deadletter_operate', args=['replay'])}?{ids}",
        reverse("admin:jobs_failuregroup_changelist"),
        reverse("admin:jobs_failuregroup_change", args=[letters[0].group_id]),
    ]
    without, with_jobs = client_of(*HELD), client_of(*HELD, "view_job")
    assert [page for page in pages if of_jobs(without.get(page))] == []
    assert len([page for page in pages if of_jobs(with_jobs.get(page))]) >= 6

    preview = without.get(pages[5])
    assert len(preview.context["will"]) == 2 and len(preview.context["skipped"]) == 2
    assert text(preview).count(JOB_UNSEEN) == 2
    plan = re.search(r'name="plan" value="([^"]+)"', text(preview))
    assert plan and not readable(plan[1])
    done = without.post(pages[5].partition("?")[0], {"plan": plan[1], "reason": "x"})
    assert not of_jobs(done) and len(done.context["done"]) == 2
    assert Job.objects.filter(status=Status.PENDING).count() == 1


def readable(plan: str) -> list[str]:
    """Return what can be read of a form's field, as it stands or decoded and decompressed."""
    found = OF_JOBS.findall(plan)
    for part in re.split(r"[:.]", plan):
        raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
        found += OF_JOBS.findall(raw.decode(errors="replace"))
        try:
            found += OF_JOBS.findall(zlib.decompress(raw).decode(errors="replace"))
        except zlib.error:
            continue
    return found


def test_job_ids_find_letters_only_for_those_who_see_jobs(letters: list[DeadLetter]) -> None:
    term = str(letters[0].job_id)[:8]
    for client, shown in ((client_of(*HELD), False), (client_of(*HELD, "view_job"), True)):
        page = text(client.get(f"{LIST}?q={term}&state=all"))
        assert (str(letters[0].pk) in page) == shown
        whole = client.get(reverse("search"), {"q": str(letters[0].job_id)}, follow=True)
        assert (str(letters[0].pk) in text(whole)) == shown
        # The letter itself is found by its own id.
        assert str(letters[0].pk) in text(client.get(f"{LIST}?q={str(letters[0].pk)[:8]}&state=all"))


def test_bulk_operations_tell_nothing_of_what_is_not_seen(letters: list[DeadLetter], settings: Any) -> None:
    settings.OPSCONSOLE_BULK_AT_ONCE = 0
    without = client_of(*HELD)
    chosen = {"action": "replay_selected", "index": "0", "select_across": "1"}
    begun = without.post(
        f"{LIST}?state=all&q=", chosen | {"_selected_action": [str(each.pk) for each in letters]}
    )
    operation = BulkOperation.objects.get()
    preview = without.get(begun.headers["Location"])
    assert not of_jobs(preview) and operation.will == 2
    counted = [(each.group.count, each.example == JOB_UNSEEN) for each in preview.context["will"]]
    assert counted == [(2, False)]

    BulkOperation.objects.update(state="ended", done=1, skipped=3)
    operation.members.filter(will=True).update(outcome="done")
    operation.members.filter(will=False).update(outcome="skipped")
    page = reverse("admin:jobs_bulkoperation_change", args=[operation.pk])
    export = reverse("admin:jobs_bulkoperation_export", args=[operation.pk, "csv"])
    assert not of_jobs(without.get(page)) and not of_jobs(without.get(export))
    assert str(letters[0].pk) in text(without.get(export))
    with_jobs = client_of(*HELD, "view_job")
    assert of_jobs(with_jobs.get(page)) and of_jobs(with_jobs.get(export))

    alone = client_of("view_bulkoperation")
    assert operation.scope not in text(alone.get(page)) and operation.scope in text(without.get(page))
    assert not of_jobs(alone.get(page)) and str(letters[0].pk) not in text(alone.get(page))
    assert alone.get(export).status_code == 403
    assert operation.scope not in text(alone.get(reverse("admin:jobs_bulkoperation_changelist")))
