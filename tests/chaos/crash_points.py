"""Crashes at chosen steps: each statement, each commit, each call of SQS and each post to a channel is a crash point.

A crash before a step is also the crash after the step before it, because nothing happens in between that outlives the
process. After the crash every further step crashes too, in every thread: the process is dead.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

import psycopg
from botocore.client import BaseClient
from django.db import connections

from alerts.sending import posting


class Crash(BaseException):
    """The process died. It is no ``Exception``, so that no handler of errors catches it."""


class CrashPoints:
    """The steps that a duty reached. It dies before the step with the number ``at``, counted from 1."""

    def __init__(self, at: int | None, die: Callable[[], NoReturn], receipts: Path) -> None:
        self.at = at
        self.steps: list[str] = []
        self.receipts = receipts
        self._die = die
        self.dead = False
        self._lock = threading.Lock()

    def reach(self, step: str) -> None:
        with self._lock:
            self.steps.append(step)
            self.dead = self.dead or len(self.steps) == self.at
        if self.dead:
            self._die()

    def note_receipt(self, queue_url: str, handle: str) -> None:
        """Keep the handle of a received message in a file, which survives the process."""
        with self._lock, self.receipts.open("a", encoding="utf-8") as file:
            file.write(f"{queue_url} {handle}\n")


def raise_crash() -> NoReturn:
    raise Crash


def kill_this_process() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


@contextmanager
def crash_points(at: int | None, die: Callable[[], NoReturn], receipts: Path) -> Iterator[CrashPoints]:
    """Count the crash points of the block, and die at one of them."""
    points = CrashPoints(at, die, receipts)
    with (
        patch.object(psycopg.Cursor, "execute", _counted(points, psycopg.Cursor.execute, _statement)),
        patch.object(psycopg.Cursor, "executemany", _counted(points, psycopg.Cursor.executemany, _statement)),
        patch.object(psycopg.Connection, "commit", _counted(points, psycopg.Connection.commit, _commit)),
        patch.object(BaseClient, "_make_api_call", _sqs_call(points)),
        patch.object(posting, "answer_in_time", _counted(points, posting.answer_in_time, _post)),
    ):
        yield points


def forget_connection() -> None:
    """Drop this thread's connection as the death of a process does: the server rolls back what was open."""
    connection = connections["default"].connection
    if connection is not None:
        connection.close()
    del connections["default"]


def _counted(points: CrashPoints, original: Callable[..., Any], name: Callable[..., str]) -> Any:
    def counted(*args: Any, **options: Any) -> Any:
        points.reach(name(*args))
        return original(*args, **options)

    return counted


def _statement(cursor: object, query: object, *_: object) -> str:
    return " ".join(str(query).split()[:3])


def _commit(connection: object) -> str:
    return "COMMIT"


def _post(*_: object) -> str:
    return "post to a channel"


def _sqs_call(points: CrashPoints) -> Any:
    original: Any = vars(BaseClient)["_make_api_call"]

    def call(client: BaseClient, operation: str, request: dict[str, Any]) -> Any:
        points.reach(f"SQS {operation}")
        answer = original(client, operation, request)
        for message in answer.get("Messages", []):
            points.note_receipt(request["QueueUrl"], message["ReceiptHandle"])
        return answer

    return call
