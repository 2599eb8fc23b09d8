"""The requested pages: every list of the console with its filters, a detail page per list, and the others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from jobs.models import Job, Status
from opsconsole.cluster import schedules
from opsconsole.kit import admin_pages

JOBS = "/admin/jobs/job/"
FILTERED = {
    "jobs, by status failed": "?status=failed",
    "jobs, stale now": "?stale=any",
    "jobs, stale: dead worker": "?stale=dead_worker",
    "jobs, hung": "?stale=hung",
    "jobs, message may be lost": "?message=unproven",
    "jobs, a rare priority": "?priority=rare",
    "jobs, of the last hour": "?age=hour",
    "jobs, older than a week": "?age=older",
    "jobs, failed of a rare priority": "?status=failed&priority=rare",
    "jobs, of a customer": "?q=customer-42",
    "jobs, by id": "?q={id}",
    "jobs, page 50": "?p=50",
}
# Pages about one thing, and those that are no lists.
ABOUT = {
    "trends, 1 h": "/admin/jobs/runrollup/?range=hour",
    "trends, 24 h by customer": "/admin/jobs/runrollup/?range=day&by=customer",
    "trends, 7 d by worker": "/admin/jobs/runrollup/?range=week&by=worker",
    "trends, 30 d by customer": "/admin/jobs/runrollup/?range=month&by=customer",
    "trends, 30 d of a customer": "/admin/jobs/runrollup/?range=month&by=customer&only=customer-42",
    "trends, runs of a bar": "/admin/jobs/runrollup/runs/?at={hour}&minutes=60",
    "trends, runs of a bar of a customer": "/admin/jobs/runrollup/runs/?at={hour}&minutes=60&by=customer&only=customer-42",
    "a customer": "/admin/customer/?id=customer-42",
    "a queue": "/admin/jobs/queuestate/default/change/",
    "a worker": "/admin/jobs/workerheartbeat/worker-42/change/",
    "a client of the limiter": "/admin/ratelimits/ratelimithour/client/?key=203.0.113.9",
    "search, by words of an error": "/admin/search/?q=directory+did+not+answer",
    "search, by a short id": "/admin/search/?q={short}",
    "jobs, scheduled": f"{JOBS}?status=scheduled",
    "jobs, waiting": f"{JOBS}?status=waiting",
    "jobs, failed of a customer, of a time": f"{JOBS}?status=failed&customer=customer-7&since=2000-01-01&before=2999-01-01",
    "jobs, by words of an error": f"{JOBS}?error=directory",
    "jobs, of a worker": f"{JOBS}?worker=worker-7",
    "jobs, ended within a time": f"{JOBS}?finished_since=2000-01-01&finished_before=2999-01-01",
    "jobs, lost their worker": f"{JOBS}?lost=day",
    "jobs, oldest first": f"{JOBS}?o=5",
}
LIVE = {
    "poll of the overview, unchanged": "/admin/",
    "poll of jobs, unchanged": JOBS,
    "poll of workers, unchanged": "/admin/jobs/workerheartbeat/",
}
OWN = {"opsconsole", "jobs", "alerts", "ratelimits", "admin"}


def prepare() -> Client:
    """Run all migrations, and create a superuser."""
    call_command("migrate", verbosity=0)
    schedules.sync()
    client = Client()
    client.force_login(User.objects.create_superuser("bench", password="bench"))
    return client


def pages() -> dict[str, str]:
    some = str(_some_job())
    lists = {
        f"{model._meta.verbose_name_plural}": reverse(
            f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
        )
        for model in admin_pages.site()._registry
        if model._meta.app_label in OWN
    }
    return {
        "overview, nothing kept": "/admin/",
        "**overview, from its cache**": "/admin/",
        "overview, what refreshes": reverse("admin:overview_live"),
        **lists,
        **{name: JOBS + query.format(id=some) for name, query in FILTERED.items()},
        **{name: address.format(hour=_hour(), short=some[:8]) for name, address in ABOUT.items()},
        "a job": reverse("admin:jobs_job_change", args=[some]),
        "requeue, preview": f"{reverse('admin:jobs_job_operate', args=['requeue'])}?id={some}",
        "search": f"{reverse('search')}?q=customer-42",
        "compare thresholds": reverse("admin:jobs_recovery_hindsight"),
    }


def others() -> dict[str, str]:
    return {
        "*stock ModelAdmin, jobs*": "/stock/jobs/job/",
        "*stock ModelAdmin, jobs by id*": f"/stock/jobs/job/?q={_some_job()}",
        "*django-q2's own, successful tasks*": "/stock/django_q/success/",
        "*procrastinate's own, jobs*": "/stock/procrastinate/procrastinatejob/",
    }


def _hour() -> str:
    """Return the beginning of the hour before this one, as the addresses of bars have it."""
    return f"{datetime.now(UTC) - timedelta(hours=1):%Y-%m-%dT%H:00Z}"


def _some_job() -> UUID:
    return Job.objects.filter(status=Status.FAILED).order_by("-created_at").values_list("pk", flat=True)[0]
