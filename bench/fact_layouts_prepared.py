"""Claims and completions as a worker with the database sends them: prepared once, all of one in one round trip.

``PREPARED=1 python -m bench.fact_layouts`` measures only these. The console itself sends its statements as text, and PostgreSQL
plans them anew each time; in both layouts, a prepared statement is planned a few times in a session's life.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from statistics import median
from typing import Any

import psycopg

from bench import fact_layouts_sql, ours
from bench.cluster import Cluster
from bench.fact_layouts_work import BOTH, COLUMNS, INSERT, Turns, both_layouts, say
from bench.shape import Shape
from opsconsole_worker.runs import statements
from opsconsole_worker.runs.heartbeats import Worker

TIMES = 300
IN_A_ROW = 25
GIVEN: dict[str, Any] = Worker("worker-of-the-bench").parameters | {
    "redriven": False,
    "asked_before": False,
    "details": "{}",
    "tried": "completed",
    "error": "",
}


def _statements(layout: str) -> dict[str, list[str]]:
    """Return what is sent for each act. A worker asks why a claim was refused only then."""
    claim, complete = (
        (statements.CLAIM, statements.COMPLETE)
        if layout == COLUMNS
        else (fact_layouts_sql.CLAIM, fact_layouts_sql.COMPLETE)
    )
    return {"claiming": claim.split(";")[:-1], "completing": complete.split(";")}


def measure_prepared(cluster: Cluster, shape: Shape, repeats: int) -> Turns:
    say("building the jobs of the sweeps")
    cluster.create("work_columns")
    ours.build(cluster.url("work_columns"), shape)
    both_layouts(cluster, "work_columns", "work_facts")
    turns: Turns = defaultdict(lambda: defaultdict(list))
    for number in range(1, repeats + 1):
        say(f"turn {number} of {repeats}")
        order = BOTH if number % 2 else BOTH[::-1]
        with cluster.copy_of("work_columns") as columns, cluster.copy_of("work_facts") as facts:
            for what, layout, figure in _work({"columns": columns, "facts": facts}, order):
                turns[what][layout].append(figure)
    return turns


def _work(urls: Mapping[str, str], order: Sequence[str]) -> Iterator[tuple[str, str, float]]:
    with ExitStack() as stack:
        sessions = {
            layout: stack.enter_context(psycopg.connect(urls[layout], autocommit=True)) for layout in order
        }
        jobs = {layout: [_new(session) for _ in range(TIMES)] for layout, session in sessions.items()}
        for session in sessions.values():
            session.prepare_threshold = 0
            session.execute("CHECKPOINT")
        for act in ("claiming", "completing"):
            times: dict[str, list[float]] = {layout: [] for layout in order}
            wal = dict.fromkeys(order, 0.0)
            for begin in range(0, TIMES, IN_A_ROW):
                for layout in order:
                    session = sessions[layout]
                    before = _wal(session)
                    for job in jobs[layout][begin : begin + IN_A_ROW]:
                        began = time.perf_counter()
                        _send(session, _statements(layout)[act], job)
                        times[layout].append((time.perf_counter() - began) * 1000)
                    wal[layout] += _wal(session) - before
            for layout in order:
                yield f"{act}, prepared: ms", layout, median(times[layout][IN_A_ROW:])
                yield f"{act}, prepared: WAL, kB", layout, wal[layout] / 1000 / TIMES


def _send(session: psycopg.Connection[Any], texts: Sequence[str], job: Any) -> None:
    """Send the statements as one transaction in one round trip, and check that the last one answers."""
    given = GIVEN | {"job_id": job, "epoch": 1}
    with session.pipeline():
        cursors = [session.execute(text, given, prepare=True) for text in texts]
    assert cursors[-1].fetchone() in {(1,), ("completed",)}


def _new(session: psycopg.Connection[Any]) -> Any:
    row = session.execute(INSERT).fetchone()
    assert row
    return row[0]


def _wal(session: psycopg.Connection[Any]) -> float:
    row = session.execute("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')").fetchone()
    assert row
    return float(row[0])
