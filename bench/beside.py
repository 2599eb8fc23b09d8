"""The console as it is installed: the sweep, and beside it ``dispatch_outbox --loop`` in a fork of the same process.

The dispatcher rests up to a second while nothing waits, and a sweep begins at any moment of that rest. As in ``run_cluster``,
the two have a bell that ends it.
"""

from __future__ import annotations

import logging
import random
import sys
import time
from contextlib import ExitStack
from multiprocessing import get_context
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from typing import Any

from django.db import connection

from bench.shape import Shape
from bench.stub_sqs import StubSqs
from opsconsole.kit import doorbell

LONGEST_SECONDS = 120
LOOK_SECONDS = 0.02


def recover(url: str, queue_url: str, shape: Shape) -> dict[str, float]:
    """Recover all stale runs while the dispatcher sends; return the seconds until the sweep's end, and until all was sent."""
    # These import models, which need the settings.
    from bench import ours  # noqa: PLC0415
    from jobs.models import Outbox  # noqa: PLC0415
    from jobs.recovery import sweeps  # noqa: PLC0415

    ours.use(url)
    ours.release_mass_staleness()
    # A fork must not have our connection.
    connection.close()
    context = get_context("fork")
    ready, sent = context.Event(), context.Queue()
    with ExitStack() as ended:
        ended.enter_context(doorbell.hung())
        dispatcher = context.Process(target=_dispatch, args=(url, queue_url, ready, sent))
        dispatcher.start()
        ended.callback(dispatcher.kill)
        assert ready.wait(LONGEST_SECONDS), "The dispatcher did not start."
        # Its first pass, and a moment of its rest.
        time.sleep(1 + random.random())
        began = time.perf_counter()
        swept = sweeps.sweep("bench")
        swept_at = time.perf_counter()
        while Outbox.objects.filter(state=Outbox.State.SENT).count() < shape.stale:
            assert time.perf_counter() - began < LONGEST_SECONDS, "The dispatcher did not send all."
            time.sleep(LOOK_SECONDS)
        over = time.perf_counter()
        dispatcher.terminate()
        job_ids = sent.get(timeout=LONGEST_SECONDS)
        dispatcher.join(LONGEST_SECONDS)
        assert dispatcher.exitcode == 0, dispatcher.exitcode
    assert len(job_ids) == len(set(job_ids)), "A message was sent twice."
    ours.check(swept, len(job_ids), shape)
    connection.close()
    return {"sweep beside the dispatcher": swept_at - began, "side by side": over - began}


def _dispatch(url: str, queue_url: str, ready: Event, sent: Queue[Any]) -> None:
    """Be the dispatcher, until SIGTERM; then say which jobs were sent."""
    logging.disable(logging.WARNING)
    from django.core.management import call_command  # noqa: PLC0415

    from bench import ours  # noqa: PLC0415

    ours.use(url)
    # A fork makes clients of its own.
    stub = StubSqs(queue_url)
    connection.ensure_connection()
    ready.set()
    # What it says at its end is no figure.
    call_command("dispatch_outbox", loop=True, verbosity=0, stdout=sys.stderr)
    connection.close()
    sent.put(stub.job_ids)
