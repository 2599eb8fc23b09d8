"""Pages and figures in both layouts of ``make bench-layouts``, in turn."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from django.db import connection
from django.db.models.expressions import RawSQL

from bench import fact_layouts_sql, ours, pages_asked, pages_data
from bench.cluster import Cluster
from bench.fact_layouts_work import BARE, COLUMNS, FACTS, Turns, both_layouts, say
from bench.pages import Taken, ask, forget
from jobs.models import Job
from jobs.watch.gauges import GAUGES

# Most jobs are of the default queue, a tenth of another, and few of a third.
QUEUE = "CASE WHEN n % 10 = 3 THEN 'mail' WHEN n % 5000 = 19 THEN 'rare' ELSE 'default' END"


def measure_pages(cluster: Cluster, rows: int, times: int) -> Turns:
    say("building the jobs of the pages")
    urls = {COLUMNS: cluster.create("pages_columns")}
    ours.use(urls[COLUMNS])
    client = pages_asked.prepare()
    client.defaults["SERVER_NAME"] = "localhost"
    pages_data.fill(urls[COLUMNS], rows, queue=QUEUE, peers=False)
    connection.close()
    urls[FACTS] = cluster.url("pages_facts")
    both_layouts(cluster, "pages_columns", "pages_facts")
    urls[BARE] = cluster.duplicate("pages_facts", "pages_bare")
    with psycopg.connect(urls[BARE], autocommit=True) as bare:
        bare.execute(fact_layouts_sql.WITHOUT_INDEXES)
    taken: dict[str, dict[str, Taken]] = defaultdict(lambda: defaultdict(Taken))
    turns: Turns = defaultdict(lambda: defaultdict(list))
    chosen = _pages()
    for number in range(times + 1):
        for layout, url in urls.items():
            # One turn in five is enough for what is many times slower.
            if layout == BARE and number % 5:
                continue
            ours.use(url)
            ask(client, "/admin/alerts/rule/", Taken(), kept=False)
            for name, address in chosen.items():
                forget()
                ask(client, address, taken[name][layout], kept=number > 0)
            for name, read in _figures(layout).items():
                began = time.perf_counter()
                read()
                if number:
                    turns[name][layout].append((time.perf_counter() - began) * 1000)
        say(f"turn {number} of {times}")
    for name, of_layouts in taken.items():
        for layout, each in of_layouts.items():
            turns[f"page: {name}"][layout] = each.whole
            turns[f"page: {name}, SQL"][layout] = each.sql
    return turns


PAGES = (
    "overview, nothing kept",
    "jobs",
    "jobs, by status failed",
    "jobs, stale now",
    "jobs, hung",
    "jobs, message may be lost",
    "jobs, a rare priority",
    "jobs, of a customer",
    "jobs, by id",
    "jobs, page 50",
    "a job",
    "requeue, preview",
    "recovery controls",
    "workers",
    "compare thresholds",
)


def _pages() -> Mapping[str, str]:
    every = pages_asked.pages()
    return {name: every[name] for name in PAGES if name in every}


def _figures(layout: str) -> dict[str, Callable[[], object]]:
    mail, rare = (_of_queue(layout, name) for name in ("mail", "rare"))
    waiting = "SELECT queue, count(*), min(updated_at) FROM jobs WHERE status = 'pending' GROUP BY queue"
    return {
        "jobs of a queue with a tenth of them": lambda: list(Job.objects.filter(**mail)[:101]),
        "jobs of a queue with few": lambda: list(Job.objects.filter(**rare)[:101]),
        "jobs of the default queue": lambda: list(Job.objects.filter(queue="default")[:101]),
        "waiting jobs of each queue": lambda: _rows(waiting),
        "the figures of the alerts": lambda: [read() for read in GAUGES.values()],
        "counting the stale runs": lambda: Job.objects.stale().count(),
    }


def _of_queue(layout: str, name: str) -> dict[str, Any]:
    """Return the condition by which the layout finds the jobs of a queue that is not the default one."""
    if layout == COLUMNS or name == "mail":
        return {"queue": name}
    return {"pk__in": RawSQL("SELECT job_id FROM job_facts WHERE queue = %s", [name])}


def _rows(query: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())
