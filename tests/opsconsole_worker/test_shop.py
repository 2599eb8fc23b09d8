"""A shop's own Django project whose handler uses the shop's models: no code of the console, and a role with the documented rights.

Its worker is killed in the middle of a run, which is recovered once.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.db import connection
from django.db.models import F

from jobs.messaging import dispatcher
from jobs.models import Job, JobEvent, RecoveryControl, RunProgress, Status, WorkerHeartbeat
from jobs.recovery import sweeps
from opsconsole_worker import sqs
from opsconsole_worker.messages import JobMessage
from tests import factories
from tests.conftest import TestQueue
from tests.programs import program
from tests.repository import REPOSITORY
from tests.waiting import wait_until

WORKER = REPOSITORY / "clients" / "python"
ROLE, PASSWORD = "shop_worker_of_a_test", "hunter2-of-the-shop"
START_SECONDS = 60.0
PROJECT = {
    "shop/__init__.py": "",
    "shop/settings.py": """
import os
from urllib.parse import parse_qs, urlsplit
url = urlsplit(os.environ["SHOP_DATABASE_URL"])
DATABASES = {"default": {
    "ENGINE": "django.db.backends.postgresql", "NAME": url.path[1:], "USER": url.username, "PASSWORD": url.password,
    "HOST": parse_qs(url.query).get("host", [url.hostname])[0], "PORT": url.port or "",
}}
INSTALLED_APPS = ["shop"]
USE_TZ = True
""",
    "shop/models.py": """
from django.db import models

class Order(models.Model):
    job_id = models.UUIDField(primary_key=True)
    customer = models.TextField()
    runs = models.IntegerField()
""",
    "shop/jobs.py": """
import logging, sys, threading
from pathlib import Path
from django.db import transaction
from opsconsole_worker import RunContext
from shop.models import Order

def submit(run: RunContext) -> dict[str, list[str]]:
    with transaction.atomic():
        order, _ = Order.objects.select_for_update().get_or_create(
            job_id=run.job.id, defaults={"customer": run.job.customer_id, "runs": 0})
        order.runs += 1
        order.save()
        run.note("ordered", reference=str(order.pk))
    last = run.last_progress
    run.progress(30 * run.job.epoch, "ordered")
    logging.getLogger("shop").info("ordered")
    while not Path(run.job.payload["gate"]).exists():
        run.check()
        threading.Event().wait(0.05)
    of_the_console = sorted({"opsconsole", "jobs", "alerts"} & sys.modules.keys())
    return {"of the console": of_the_console, "received": last and [last.percent, last.text, last.epoch]}

HANDLERS = {"default": submit}
""",
}


@pytest.fixture
def role(transactional_db: None) -> Iterator[None]:
    """Create a role with the rights that the README lists, and the shop's own table."""
    [rights] = re.findall(r"```sql\n(-- rights.*?)```", (WORKER / "README.md").read_text(), re.DOTALL)
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'")
        cursor.execute("CREATE TABLE public.shop_order (job_id uuid PRIMARY KEY, customer text, runs int)")
        cursor.execute(rights.replace("your_worker", ROLE))
        cursor.execute(f"GRANT SELECT, INSERT, UPDATE ON public.shop_order TO {ROLE}")
    yield
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE public.shop_order; DROP OWNED BY {ROLE}; DROP ROLE {ROLE}")


@pytest.fixture
def shop(tmp_path: Path, role: None, sqs_queue: TestQueue) -> dict[str, str]:
    """Write the project; return the environment of its worker, in which nothing of the console can be imported."""
    for name, text in PROJECT.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    secret = tmp_path / "url"
    there = urlsplit(os.environ["DATABASE_URL"])
    place = there.netloc.rpartition("@")[2]
    named = there._replace(netloc=f"{ROLE}:{PASSWORD}@{place}", path=f"/{connection.settings_dict['NAME']}")
    secret.write_text(named.geturl())
    kept = {
        name: os.environ[name] for name in os.environ if name.startswith(("AWS_", "PATH", "HOME", "LANG"))
    }
    return kept | {
        "PYTHONPATH": f"{tmp_path}:{WORKER / 'src'}",
        "DJANGO_SETTINGS_MODULE": "shop.settings",
        # For the shop's own Django; the worker reads the file.
        "SHOP_DATABASE_URL": named.geturl(),
        "DATABASE_URL_FILE": str(secret),
        "SQS_QUEUE_URL": sqs_queue.url,
        "SQS_DLQ_URL": sqs_queue.dlq_url,
        "OPSCONSOLE_BEAT_INTERVAL_SECONDS": "1",
        "OPSCONSOLE_LOG_FORMAT": "json",
    }


@contextmanager
def worker(folder: Path, env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the shop's worker for one run."""
    words = ["--handlers", "shop.jobs", "--setup", "django.setup", "--max-jobs", "1"]
    words += ["--before-run", "django.db.close_old_connections"]
    command = [sys.executable, "-m", "opsconsole_worker", *words]
    with (
        log.open("ab") as lines,
        program(command, cwd=folder, env=env, stdout=lines, stderr=lines) as process,
    ):
        yield process


def test_killed_worker_of_a_shop_is_recovered_once(
    shop: dict[str, str], tmp_path: Path, sqs_queue: TestQueue
) -> None:
    gate, log = tmp_path / "gate", tmp_path / "log"
    job = factories.job(payload={"gate": str(gate)})
    sqs.send_raw(sqs_queue.url, JobMessage(job_id=job.pk, run_epoch=1).to_body())
    with worker(tmp_path, shop, log) as process:
        wait_until(lambda: RunProgress.objects.exists() or process.poll() is not None, START_SECONDS)
        assert process.poll() is None, log.read_text()
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert Job.objects.get(pk=job.pk).status == Status.IN_PROGRESS

    long = timedelta(hours=1)
    WorkerHeartbeat.objects.update(last_heartbeat=F("last_heartbeat") - long)
    Job.objects.update(started_at=F("started_at") - long, updated_at=F("updated_at") - long)
    RecoveryControl.objects.get_or_create(pk=1)  # Other tests empty all tables.
    RecoveryControl.objects.update(mode=RecoveryControl.Mode.ARMED, beats_looked_at=None)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM worker_observations")
    assert [sweeps.sweep("command").requeued, sweeps.sweep("command").requeued] == [1, 0]
    assert dispatcher.dispatch().sent == 1
    gate.touch()
    with worker(tmp_path, shop, log) as process:
        assert process.wait(START_SECONDS) == 0, log.read_text()

    done = Job.objects.get(pk=job.pk)
    assert (done.status, done.run_epoch) == (Status.COMPLETED, 2), log.read_text()
    assert [kind for kind in kinds(job) if kind != "progress"] == [
        "claimed",
        "recovered",
        "claimed",
        "completed",
    ]
    ended = JobEvent.objects.get(job_id=job.pk, kind=JobEvent.Kind.COMPLETED)
    assert ended.details["of the console"] == []
    assert ended.details["received"] == [30, "ordered", 1]
    assert list(RunProgress.objects.order_by("run_epoch").values_list("percent", flat=True)) == [30, 60]
    with connection.cursor() as cursor:
        cursor.execute("SELECT job_id, customer, runs FROM public.shop_order")
        assert cursor.fetchall() == [(job.pk, "TEST-001", 2)]
    told = log.read_text()
    assert f'"job": "{job.pk}", "run": 2, "worker": ' in told
    assert PASSWORD not in told


def kinds(job: Job) -> list[str]:
    return list(JobEvent.objects.filter(job_id=job.pk).order_by("id").values_list("kind", flat=True))
