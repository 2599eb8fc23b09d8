"""Sweeps, claims and completions in both layouts of ``make bench-layouts``, in turn."""

from __future__ import annotations

import gc
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from statistics import median
from typing import Any

import psycopg

from bench import fact_layouts_sql, finding, ours
from bench.cluster import Cluster
from bench.finding import Question
from bench.recovery import QUEUE_URL
from bench.shape import Shape
from bench.stub_sqs import StubSqs
from jobs.models import Job
from opsconsole_worker.runs import lifecycle
from opsconsole_worker.runs.heartbeats import Worker
from opsconsole_worker.runs.running_job import RunningJob

COLUMNS, FACTS, BARE = "columns", "facts", "facts, none of our indexes"
BOTH = (COLUMNS, FACTS)
WORKED = 150
IN_A_ROW = 25

# What was measured -> the layout -> its figure in each turn.
Turns = dict[str, dict[str, list[float]]]


def measure_work(cluster: Cluster, shape: Shape, repeats: int) -> Turns:
    say("building the jobs of the sweeps")
    cluster.create("work_columns")
    ours.build(cluster.url("work_columns"), shape)
    both_layouts(cluster, "work_columns", "work_facts")
    stub = StubSqs(QUEUE_URL)
    turns: Turns = defaultdict(lambda: defaultdict(list))
    pages: dict[str, tuple[str, Any]] = {}
    for number in range(1, repeats + 1):
        say(f"turn {number} of {repeats}")
        # Who begins changes from turn to turn.
        order = BOTH if number % 2 else BOTH[::-1]
        with cluster.copy_of("work_columns") as columns, cluster.copy_of("work_facts") as facts:
            urls = {COLUMNS: columns, FACTS: facts}
            for layout in order:
                gc.collect()
                with _written_as(layout):
                    figures, pages[layout] = _sweep(urls[layout], stub, shape)
                for what, figure in figures.items():
                    turns[what][layout].append(figure)
            for what, layout, figure in _work(urls, order):
                turns[what][layout].append(figure)
    questions = {(layout, 0): Question(cluster.url(f"work_{layout}"), *pages[layout]) for layout in BOTH}
    for (layout, _), spent in finding.server_times(questions).items():
        turns["finding a page of 500, planning: ms"][layout].append(spent.planning)
        turns["finding a page of 500, executing: ms"][layout].append(spent.executing)
    return turns


def both_layouts(cluster: Cluster, columns: str, facts: str) -> None:
    """Give sessions of both databases the console's search path, and split the table of the second one."""
    with psycopg.connect(cluster.url(columns), autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {columns} SET search_path = opsconsole, public")
        connection.execute("VACUUM (FULL, ANALYZE) jobs")
        connection.execute("VACUUM (ANALYZE)")
    cluster.duplicate(columns, facts)
    fact_layouts_sql.split(cluster.url(facts))


@contextmanager
def _written_as(layout: str) -> Iterator[None]:
    with nullcontext() if layout == COLUMNS else fact_layouts_sql.two_tables():
        yield


def _sweep(url: str, stub: Any, shape: Shape) -> tuple[dict[str, float], tuple[str, Any]]:
    """Recover all stale runs; return the figures, and the statement that locks a page."""
    with psycopg.connect(url, autocommit=True) as observer:
        observer.execute("CHECKPOINT")
        before = _wal(observer)
        spent, page = ours.recover(url, stub, shape)
        assert len(set(stub.job_ids)) == shape.stale
        stub.forget()
        return {
            "stale runs found, decided, written: s": spent["pages"],
            "the whole sweep: s": spent["sweep"],
            "leasing and settling the outbox: s": spent["lease and settle"],
            "sweep and dispatch: WAL, MB": (_wal(observer) - before) / 1e6,
        }, page


def _work(urls: Mapping[str, str], order: Sequence[str]) -> Iterator[tuple[str, str, float]]:
    """Insert, claim and complete jobs, a few at a time in each layout; yield what was done, the layout and a figure."""
    with ExitStack() as stack:
        observers = {
            layout: stack.enter_context(psycopg.connect(url, autocommit=True)) for layout, url in urls.items()
        }
        jobs = {layout: Jobs(observer) for layout, observer in observers.items()}
        for what, act in ACTS.items():
            times: dict[str, list[float]] = {layout: [] for layout in order}
            wal = dict.fromkeys(order, 0.0)
            observers[COLUMNS].execute("CHECKPOINT")
            for _ in range(WORKED // IN_A_ROW):
                for layout in order:
                    before = _wal(observers[layout])
                    times[layout] += _timed(act, jobs[layout], urls[layout], layout)
                    wal[layout] += _wal(observers[layout]) - before
            for layout in order:
                yield f"{what}: ms", layout, median(times[layout])
                yield f"{what}: WAL, kB", layout, wal[layout] / 1000 / WORKED


def _timed(act: Callable[[Jobs], object], jobs: Jobs, url: str, layout: str) -> list[float]:
    ours.use(url)
    Job.objects.filter(pk=jobs.requeued[0]).exists()  # It connects.
    times = []
    with _written_as(layout):
        for _ in range(IN_A_ROW):
            began = time.perf_counter()
            act(jobs)
            times.append((time.perf_counter() - began) * 1000)
    return times


class Jobs:
    """The jobs of one layout that are worked on: ``new`` ones, and those that the sweep requeued."""

    def __init__(self, observer: psycopg.Connection[Any]) -> None:
        query = "SELECT id FROM public.jobs WHERE status = 'pending' ORDER BY id LIMIT %s"
        self.observer = observer
        self.new: list[Any] = []
        self.requeued = [row[0] for row in observer.execute(query, [WORKED]).fetchall()]

    def insert(self) -> None:
        """Insert a job as a producer does that knows the contract only."""
        self.new.append(_one(self.observer, INSERT))


# As long as the rows that are there, so that in no layout the rest of a full page happens to fit one more.
INSERT = "INSERT INTO public.jobs (customer_id, package_size) VALUES ('customer-of-a-producer-with-a-longer-name', 50) RETURNING id"
ACTS: dict[str, Callable[[Jobs], object]] = {
    "a producer inserts a job": Jobs.insert,
    "claiming a new job": lambda jobs: _claim(jobs.new),
    "completing it": lambda jobs: _complete(jobs.new, 1),
    "claiming a requeued job": lambda jobs: _claim(jobs.requeued),
    "completing a requeued job": lambda jobs: _complete(jobs.requeued, 2),
}


def _claim(waiting: list[Any]) -> None:
    """Claim the next of these jobs, and put it at the end of the list."""
    job = lifecycle.claim(waiting[0], None, _worker())
    assert isinstance(job, RunningJob), job
    waiting.append(waiting.pop(0))


def _complete(running: list[Any], epoch: int) -> None:
    assert lifecycle.complete(lifecycle.Run(running[0], epoch, _worker()))
    running.append(running.pop(0))


def _worker() -> Any:
    return Worker("worker-of-the-bench")


def _wal(connection: psycopg.Connection[Any]) -> float:
    return float(_one(connection, "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')"))


def _one(connection: psycopg.Connection[Any], statement: str) -> Any:
    row = connection.execute(statement).fetchone()
    assert row
    return row[0]


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
