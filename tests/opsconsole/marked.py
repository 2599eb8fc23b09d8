"""Rows of every model with a text of their own, so that a page shows which models it quotes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from axes.models import AccessAttempt
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.db.models.functions import Now
from django_q.models import Task

from alerts.models import Monitor
from jobs.bulk.registry import kind_of
from jobs.models import Job, JobEvent, Outbox
from opsconsole.kit import audit
from opsconsole.kit.models import Pause
from opsconsole.kit.retention_models import Removal
from ratelimits.models import RateLimitRequest

# The columns that get the mark of their model, which is named as in addresses.
COLUMNS: dict[str, tuple[str, ...]] = {
    "alerts.Alert": ("title", "summary", "handled_reason"),
    "alerts.Channel": ("last_answer", "broken_why"),
    "alerts.DeadManPing": ("answer",),
    "alerts.Rule": ("reason",),
    "alerts.SlackPerson": ("name",),
    "alerts.SnsMessage": ("about",),
    "auth.User": ("last_name", "email"),
    "axes.AccessAttempt": ("user_agent",),
    "django_q.OrmQ": ("key",),
    "django_q.Schedule": ("func",),
    "jobs.BulkOperation": ("reason",),
    "jobs.FailureGroup": ("note",),
    "jobs.Job": ("customer_id", "error_message"),
    "jobs.Outbox": ("last_error", "message_id"),
    "jobs.QueueState": ("error",),
    "jobs.RecoveryControl": ("reason",),
    "jobs.Sweep": ("note",),
    "jobs.WorkerHeartbeat": ("hostname",),
    "opsconsole.Pause": ("reason",),
    "opsconsole.SignInIdentity": ("name", "email"),
    "opsconsole.Verification": ("by",),
    "ratelimits.ApiKey": ("hint", "reason"),
    "ratelimits.LimiterControl": ("reason",),
    "ratelimits.Policy": ("changed_by",),
}


def mark(page: str) -> str:
    """Return the text that only rows of this model hold."""
    return f"mark-of-{page.replace('_', '-')}-rows"


def _page(label: str) -> str:
    return label.replace(".", "_").lower()


def everything() -> set[str]:
    """Mark the rows of every model; return the models, as in addresses."""
    # Before the others, because a line of the audit keeps what its row was called.
    _lines("admin_logentry")
    for label, columns in COLUMNS.items():
        text = mark(_page(label))
        changed = apps.get_model(label)._base_manager.update(**dict.fromkeys(columns, text))
        assert changed, f"the scenery has no {label}"
    others: dict[str, Callable[[str], None]] = {
        "alerts_monitor": _monitor,
        # They quote the rows of jobs.
        "jobs_attachment": lambda _: None,
        "jobs_runrollup": lambda _: None,
        "auth_group": _role,
        "django_q_failure": _tasks,
        "django_q_success": _tasks,
        "jobs_deadletter": _letters,
        "opsconsole_tablesize": _removal,
        "ratelimits_ratelimithour": _requests,
    }
    for page, write in others.items():
        write(page)
    apps.get_model("alerts.Rule").objects.update(changed_at=Now(), changed_by="olga")
    waiting = Job.objects.filter(status="pending")[0]
    JobEvent.objects.create(job=waiting, kind=JobEvent.Kind.PROGRESS, actor="x", reason=mark("jobs_job"))
    assert Outbox.objects.exists() and Pause.objects.exists() and AccessAttempt.objects.exists()
    _members()
    # A preview is shown to nobody but the person who asked for it.
    apps.get_model("jobs.BulkOperation").objects.filter(state="preview").update(state="ended")
    return {_page(label) for label in COLUMNS} | set(others) | {"admin_logentry"}


def _members() -> None:
    """Mark what bulk operations keep of their members, and what they say of jobs."""
    members = apps.get_model("jobs.BulkMember").objects
    for operation in apps.get_model("jobs.BulkOperation").objects.all():
        about = mark(kind_of(operation.action).page)
        operation.scope = about
        operation.save(update_fields=["scope"])
        members.filter(operation=operation).update(sentence=about, seen_reason=mark("jobs_job"))
    assert members.exists()


def _lines(page: str) -> None:
    """Write a line of the audit about one row of each model."""
    somebody = User.objects.get(username="somebody")
    for label in COLUMNS:
        rows: Any = apps.get_model(label)._base_manager.all()[:1]
        audit.log(somebody, rows, mark(page), why=mark(page))


def _monitor(page: str) -> None:
    Monitor.objects.update_or_create(
        name=mark(page),
        defaults={"last_ok_at": Now(), "interval": Monitor.objects.first().interval},  # type: ignore[union-attr]  # there is one
    )


def _role(page: str) -> None:
    role, _ = Group.objects.get_or_create(name=mark(page))
    for user in User.objects.all():
        user.groups.add(role)


def _tasks(page: str) -> None:
    Task.objects.filter(success=page.endswith("success")).update(name=mark(page))


def _letters(page: str) -> None:
    apps.get_model("jobs.DeadLetter").objects.update(body=f'{{"note": "{mark(page)}"}}')


def _removal(page: str) -> None:
    Removal.objects.create(subject="sweeps", rows=1, by=mark(page))


def _requests(page: str) -> None:
    RateLimitRequest.objects.update(endpoint=mark(page))
