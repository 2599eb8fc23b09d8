"""A test of every kind of id that a page shows: the search leads from it to the page that it names."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_q.models import Failure, OrmQ, Success

from alerts.models import Alert, SlackPerson, SnsMessage
from jobs.models import BulkOperation, IdempotencyKey, Outbox, QueueState, ReplayAttempt, Sweep
from opsconsole.kit.audit_models import AuditSeal
from opsconsole.kit.identity_models import SignInIdentity
from ratelimits.models import RateLimitHour
from ratelimits.models.hour import hash_key
from tests.factories import beat, dead_letter, job, letter
from tests.keys import key

pytestmark = pytest.mark.django_db


def change(model: str, pk: object) -> str:
    return reverse(f"admin:{model}_change", args=[pk])


def client_page(query: str) -> str:
    return f"{reverse('admin:ratelimits_ratelimithour_client')}?{query}"


def of_job() -> dict[str, str]:
    made = job(customer_id="CUST-7")
    page = change("jobs_job", made.pk)
    return {str(made.pk): page, str(made.pk)[:8]: page, str(made.pk).upper(): page}


def of_customer() -> dict[str, str]:
    job(customer_id="CUST-7")
    return {"CUST-7": f"{reverse('customer')}?id=CUST-7"}


def of_letter() -> dict[str, str]:
    dead = dead_letter(message_id="dead-77")
    page = change("jobs_deadletter", dead.pk)
    return {str(dead.pk): page, str(dead.pk)[:8]: page, "dead-77": page}


def of_replay() -> dict[str, str]:
    dead = dead_letter()
    ReplayAttempt.objects.create(
        letter=dead, action="replay", state="done", reason="r", actor="a", new_message_id="sent-again-1"
    )
    return {"sent-again-1": change("jobs_deadletter", dead.pk)}


def of_job_that_is_not_in_the_database() -> dict[str, str]:
    gone = uuid4()
    page = change("jobs_deadletter", dead_letter(job_id=gone).pk)
    return {str(gone): page, str(gone)[:8]: page}


def of_outgoing_message() -> dict[str, str]:
    made = job()
    row = letter(made, state=Outbox.State.SENT, message_id="0f3c-b7e")
    page = change("jobs_job", made.pk)
    return {"0f3c-b7e": page, f"#{row.pk}": page, f"message {row.pk}": page}


def of_worker_and_queue() -> dict[str, str]:
    beat("worker-7@host")
    QueueState.objects.create(name="parcels")
    return {
        "worker-7@host": change("jobs_workerheartbeat", "worker-7_40host"),
        "worker-7": change("jobs_workerheartbeat", "worker-7_40host"),
        "parcels": change("jobs_queuestate", "parcels"),
    }


def of_sweep() -> dict[str, str]:
    row = Sweep.objects.create(trigger="schedule", mode="armed", started_at=Now(), finished_at=Now())
    page = change("jobs_sweep", row.pk)
    return {f"sweep {row.pk}": page, f"Sweep {row.pk}": page, f"#{row.pk}": page}


def of_bulk_operation() -> dict[str, str]:
    row = BulkOperation.objects.create(action="requeue", scope="x", actor="operator:ada", state="ended")
    page = change("jobs_bulkoperation", row.pk)
    return {f"#{row.pk}": page, f"bulk operation {row.pk}": page}


def of_failure_group() -> dict[str, str]:
    group = dead_letter().group
    page = change("jobs_failuregroup", group.pk)
    return {f"group {group.pk}": page, f"failure group {group.pk}": page}


def of_alert() -> dict[str, str]:
    row = Alert.objects.create(
        fingerprint="no_live_worker", rule="no_live_worker", title="x", state="resolved", resolved_at=Now()
    )
    return {f"alert {row.pk}": change("alerts_alert", row.pk), f"#{row.pk}": change("alerts_alert", row.pk)}


def of_request() -> dict[str, str]:
    made = job()
    row, _ = key("Shop")
    IdempotencyKey.objects.create(
        caller=f"api-key:{row.pk}", key="order-4218", request="x", answer={"id": str(made.pk)}
    )
    return {"order-4218": change("jobs_job", made.pk)}


def of_client() -> dict[str, str]:
    row, _ = key("Shop")
    page = client_page(f"key=key%3A{row.pk}")
    return {
        "203.0.113.9": client_page("key=address%3A203.0.113.9"),
        row.hint: page,
        str(row.pk): page,
        "Shop": page,
    }


def of_client_that_only_its_hash_names() -> dict[str, str]:
    digest = hash_key("address:198.51.100.7")
    for hours in range(3):
        RateLimitHour.objects.create(
            hour=Now() - timedelta(hours=hours + 2), policy="p", key_hash=digest, endpoint="/", method="GET",
            outcome="limited", hits=3,
        )  # fmt: skip
    page = client_page(f"hash={digest}")
    return {digest: page, digest[:12]: page}


def of_seal() -> dict[str, str]:
    newest = AuditSeal.objects.create(
        number=41,
        source=AuditSeal.Source.AUDIT,
        existing=False,
        ids="1-2",
        first_id=1,
        last_id=2,
        row_count=2,
        hash="0861b90983b5" + "a" * 52,
        sealed_at=Now(),
    )
    page = reverse("admin:admin_logentry_changelist")
    return {f"seal {newest.number}": page, newest.hash[:12]: page, newest.hash: page}


def of_people_elsewhere() -> dict[str, str]:
    person = SlackPerson.objects.create(team="T1", member="U02ABCDEF", name="Ada")
    identity = SignInIdentity.objects.create(issuer="https://id.example", subject="00u1f96ECLNVxAKtw4x7")
    return {
        "U02ABCDEF": change("alerts_slackperson", person.pk),
        "00u1f96ECLNVxAKtw4x7": change("opsconsole_signinidentity", identity.pk),
    }


def of_sns_message() -> dict[str, str]:
    row = SnsMessage.objects.create(message_id=str(uuid4()), kind="Notification", happened_at=Now())
    return {row.message_id: f"{reverse('admin:alerts_snsmessage_changelist')}?q={row.message_id}"}


def of_task() -> dict[str, str]:
    facts = {"func": "opsconsole.seals.tasks.seal", "started": timezone.now(), "stopped": timezone.now()}
    done = Success.objects.create(
        id="3a44356c50ec4597b148ea9907be179d", name="venus-butter-orange-oven", success=True, **facts
    )
    failed = Failure.objects.create(id=uuid4().hex, name="two-high-sixteen-seven", success=False, **facts)
    queued = OrmQ.objects.create(key="opsconsole", payload="", lock=timezone.now())
    return {
        done.pk: change("django_q_success", done.pk),
        done.name: change("django_q_success", done.pk),
        failed.pk: change("django_q_failure", failed.pk),
        failed.name: change("django_q_failure", failed.pk),
        f"queued task {queued.pk}": change("django_q_ormq", queued.pk),
    }


SHOWN_IDS = [
    of_job,
    of_customer,
    of_letter,
    of_replay,
    of_job_that_is_not_in_the_database,
    of_outgoing_message,
    of_worker_and_queue,
    of_sweep,
    of_bulk_operation,
    of_failure_group,
    of_alert,
    of_request,
    of_client,
    of_client_that_only_its_hash_names,
    of_seal,
    of_people_elsewhere,
    of_sns_message,
    of_task,
]


@pytest.mark.parametrize("ids", SHOWN_IDS, ids=lambda each: each.__name__)
def test_every_id_that_a_page_shows_is_found(client: Client, ids: Callable[[], dict[str, Any]]) -> None:
    client.force_login(User.objects.create_superuser("root"))

    for term, page in ids().items():
        answer = client.get(reverse("search"), {"q": term})
        assert page in (answer.headers.get("Location") or answer.content.decode().replace("&amp;", "&")), term
