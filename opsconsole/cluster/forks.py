"""Commands of the console as forks of their supervisor: what they all load is in memory once."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from types import MappingProxyType

from django.core.management import CommandError, call_command, get_commands, load_command_class

from opsconsole.cluster import task_table
from opsconsole.kit import command_loops, model_caches
from opsconsole.kit.supervision.supervisor import Program
from opsconsole_worker import sqs

COMMANDS = ("qcluster", "dispatch_outbox", "send_alerts", "recover_stale_jobs", "check_dlq")
NOTHING: Mapping[str, str] = MappingProxyType({})


def program(name: str, *words: str, grace: float, env: Mapping[str, str] = NOTHING) -> Program:
    """Return a program that runs a command of ours in a fork; ``env`` is added to the variables that we have."""
    return Program(name, ["opsconsole", *words], grace=grace, run=partial(_run, words, env))


def share_memory() -> None:
    """Load what the commands need, and keep the garbage collector from writing to it: a page is shared until it is written to."""
    # First: what is read after it fills the holes that botocore's list of endpoints leaves.
    sqs.load()
    for command in COMMANDS:
        load_command_class(get_commands()[command], command)
    for entry in task_table.every_entry():
        import_module(entry.task.rpartition(".")[0])
    model_caches.fill()
    gc.collect()
    gc.freeze()


def _run(words: tuple[str, ...], env: Mapping[str, str]) -> None:
    os.environ |= env
    # The supervisor has what belongs beside it, such as the port of the metrics.
    command_loops.beside.clear()
    try:
        call_command(*words)
    except CommandError as error:
        sys.exit(str(error))
