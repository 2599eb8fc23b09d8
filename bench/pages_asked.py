"""The requested pages: every list of the console with its filters, a detail page per list, and the others."""

from __future__ import annotations

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


def _some_job() -> UUID:
    return Job.objects.filter(status=Status.FAILED).order_by("-created_at").values_list("pk", flat=True)[0]
