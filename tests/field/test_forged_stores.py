"""Attacks by somebody who can write to the store or to django-q2's tables: nothing runs, and everything goes on."""

from __future__ import annotations

import base64
import json
import os
import re
from pathlib import Path

import redis
from django.core import signing
from django_q.conf import Conf
from django_q.signing import PickleSerializer

from opsconsole.cluster import schedules
from opsconsole.cluster.task_table import PREFIX
from tests.field.console import NAME, PASSWORD, SECRET_KEY, Console
from tests.field.visitor import Visitor
from tests.traps import Trap, pickled
from tests.waiting import wait_until

SWEEP = f"{PREFIX}sweep"
LISTS = ("schedule", "success", "failure", "ormq")
PAGES = ("/admin/", "/admin/jobs/recoverycontrol/", "/admin/jobs/job/", "/readyz")
TASK = """INSERT INTO django_q_task (id, name, func, hook, args, kwargs, result, "group", started, stopped, success, attempt_count)
    VALUES (md5(random()::text), %(name)s, 'jobs.tasks.sweep', 'os.mkdir', %(pickle)s, %(pickle)s, %(pickle)s, %(group)s,
            now(), now(), %(success)s, 1)"""
SCHEDULE = """INSERT INTO django_q_schedule (name, func, args, kwargs, hook, schedule_type, minutes, repeats, next_run)
    VALUES (%(name)s, %(func)s, %(args)s, %(kwargs)s, 'os.mkdir', 'I', 1, -1, now() - interval '1 day')"""


def forge_store(trace: Path) -> None:
    """Put a pickle under each key of Django's cache, and under those that django-q2 uses by itself."""
    store = redis.Redis.from_url(os.environ["CACHE_URL"])
    keys = {key.decode() for key in store.scan_iter("opsconsole:1:*")}
    cluster = "opsconsole:1:django_q:opsconsole:cluster"
    for key in (*keys, cluster, f"{cluster}:0", "opsconsole:1:mark:any"):
        store.set(key, pickled(trace))


def forge_rows(console: Console, trace: Path) -> None:
    """Write pickles and foreign functions to the tables of tasks, of the queue and of schedules."""
    pickle = base64.b64encode(pickled(trace)).decode()
    for number, success in enumerate((True, False)):
        for group in (SWEEP, None):
            forged = {"name": f"forged-{number}", "pickle": pickle, "group": group, "success": success}
            console.database.sql(TASK, forged)
    for payload in (
        pickle,
        # Both with the console's own key: pickles don't count whoever signed them, nor does a function of another.
        signing.dumps(Trap(trace), key=SECRET_KEY, salt=Conf.PREFIX, serializer=PickleSerializer),
        signing.dumps(
            {"func": "os.mkdir", "args": [str(trace)]}, key=SECRET_KEY, salt="opsconsole.cluster.packages"
        ),
    ):
        console.database.sql(
            "INSERT INTO django_q_ormq (key, payload, lock) VALUES ('opsconsole', %s, now())", [payload]
        )
    at_once = json.dumps({"q_options": {"sync": True}}).replace("true", "True")
    for name, function, arguments in (
        (f"{PREFIX}watch", "os.mkdir", repr(str(trace))),
        ("theirs", "os.mkdir", repr(str(trace))),
        ("broken", "os.mkdir", "1("),
    ):
        forged = {"name": name, "func": function, "args": arguments, "kwargs": at_once}
        console.database.sql(SCHEDULE, forged)


def test_forged_stores_run_nothing_and_stop_nothing(console: Console, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    with console.database.as_default():
        schedules.sync()
    forge_store(trace)
    forge_rows(console, trace)
    sql = console.database.sql
    with console.running("run_cluster") as log, console.served() as proxy, Visitor(proxy) as visitor:
        # The sweep was queued and run, and its result stored beside the forged ones of its group.
        wait_until(
            lambda: sql(
                'SELECT 1 FROM django_q_task WHERE "group" = %s AND result LIKE \'"sweep%%\'', [SWEEP]
            ),
            90,
            what=str(log),
        )
        wait_until(
            lambda: sql("SELECT 1 FROM django_q_ormq WHERE key = 'refused' HAVING count(*) = 2"),
            30,
            what=str(log),
        )
        forge_store(trace)
        visitor.log_in(NAME, PASSWORD)
        overview = visitor.get("/admin/").text
        assert "2 queued tasks were refused" in overview
        assert "3 schedules are refused" in overview
        for page in PAGES:
            assert visitor.get(page).status in {200, 503 if page == "/readyz" else 200}, page
        opened = 0
        for name in LISTS:
            listed = visitor.get(f"/admin/django_q/{name}/")
            assert listed.status == 200, name
            for row in set(re.findall(rf"/admin/django_q/{name}/([^/\"]+)/change/", listed.text)):
                status = visitor.get(f"/admin/django_q/{name}/{row}/change/").status
                # The cluster works beside us: a task may have left the queue since it was listed.
                is_done = name == "ormq" and not sql("SELECT id FROM django_q_ormq WHERE id = %s", [row])
                assert status == 200 or (status == 302 and is_done), (name, row)
                opened += 1
        assert opened > 15
        forged_rows = sql("SELECT id FROM django_q_task WHERE name LIKE 'forged-%'")
        shown = [
            visitor.get(f"/admin/django_q/{name}/{row}/change/").text
            for (row,) in forged_rows
            for name in LISTS[1:3]
        ]
        assert sum("this console did not store it" in page for page in shown) == len(forged_rows)
    said = log.read_text()
    assert "Queued task" in said
    assert "is not in the task table" in said
    assert "Traceback" not in said
    assert "Traceback" not in console.web_log()
    assert not trace.exists()
