"""The smoke journey of an earlier version's code, in one process of it: a job from its creation to its result, and pages.

It runs as ``manage.py shell -c`` of that version, so it names only what was there then.
"""

from __future__ import annotations

JOURNEY = """
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
call_command("enqueue_jobs", "--customer", "smoke", "--package-size", "1")
call_command("dispatch_outbox")
call_command("run_worker", "--handler", "tests.chaos.handlers.work", "--max-jobs", "1")
call_command("find_stale_jobs")
call_command("check_dlq")
client = Client(HTTP_HOST="localhost")
client.force_login(User.objects.get(username="ada"))
for page in ("/admin/", "/admin/jobs/job/", "/admin/jobs/sweep/", "/admin/alerts/alert/", "/healthz"):
    answer = client.get(page)
    assert answer.status_code == 200, (page, answer.status_code, answer.content[:500])
print("journey done")
"""
DONE = "journey done"
