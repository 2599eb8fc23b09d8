"""The packages in the cluster's queue: a task as signed JSON.

django-q2 signs a pickle, and signs the state of its clusters in the same way, so that one could stand for the other. Here a
task is JSON, is signed for this purpose alone, and names a function of the task table; nothing else of a row is believed.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.core import signing
from django_q import core_signing
from django_q.conf import Conf

from opsconsole.cluster.task_table import may_run
from opsconsole.kit.errors import OpsConsoleError

SALT = "opsconsole.cluster.packages"
REQUIRED = ("id", "name", "func", "args", "kwargs", "started")
# What a task may say about its own treatment. django-q2 knows more, such as functions to call with the result.
# ``takes`` is the broker's: how often a cluster has taken the task.
OPTIONS = ("group", "save", "ack_failure", "cluster", "takes")


class PackageRefused(OpsConsoleError):
    """The text is no task of this console, or names a function that the cluster does not run."""


def pack(task: dict[str, Any]) -> str:
    """Return the signed text of a task of django-q2. Raise ``PackageRefused`` for one that would not be run."""
    _refuse_others(task)
    known = {name: task[name] for name in (*REQUIRED, *OPTIONS) if name in task}
    try:
        return signing.dumps(known | {"started": task["started"].isoformat()}, salt=SALT)
    except (TypeError, ValueError, RecursionError) as error:
        raise PackageRefused(f"The arguments of {task['func']} are not JSON.") from error


def unpack(text: str) -> dict[str, Any]:
    """Verify the signed text of a task and return the task. Raise ``PackageRefused`` when it is not one of ours."""
    try:
        task = signing.loads(text, salt=SALT)
    except (signing.BadSignature, ValueError, RecursionError) as error:
        raise PackageRefused("It was not signed by this console.") from error
    _refuse_others(task)
    started = datetime.fromisoformat(task["started"])
    verified: dict[str, Any] = task | {"args": tuple(task["args"]), "started": started}
    return verified


def is_of_earlier_version(text: str) -> bool:
    """Tell whether django-q2 itself signed this text, as versions of the console before this one let it. Read nothing of it."""
    try:
        core_signing.TimestampSigner(key=Conf.SECRET_KEY, salt=Conf.PREFIX).unsign(text)
    except (core_signing.BadSignature, ValueError):
        return False
    return True


def _refuse_others(task: dict[str, Any]) -> None:
    if not may_run(task.get("func")):
        raise PackageRefused(
            f"It names a function that is not in the task table: {str(task.get('func'))[:200]}"
        )
    if unknown := sorted(task.keys() - {*REQUIRED, *OPTIONS}):
        raise PackageRefused(f"It has options that the cluster does not take: {', '.join(unknown)[:200]}")
