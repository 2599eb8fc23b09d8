"""One turn of ``bench.ids``: ``build KIND URL`` makes the tables and rows, ``recover KIND URL`` recovers the stale runs."""

from __future__ import annotations

import json
import logging
import os
import sys

import django
import psycopg

from bench.ids import shape_asked

QUEUE_URL = "https://sqs.us-east-1.amazonaws.com/000000000000/bench"
UUID = "md5('job ' || n)::uuid"


def main(step: str, kind: str, url: str) -> None:
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "opsconsole.settings",
        "OPSCONSOLE_ENV": "production",
        "SQS_QUEUE_URL": QUEUE_URL,
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "DATABASE_URL": url,
    }
    django.setup()
    logging.disable(logging.WARNING)
    # These import models, which need the settings.
    from bench import ours  # noqa: PLC0415
    from bench.stub_sqs import StubSqs  # noqa: PLC0415

    if step == "build":
        _build(kind, url)
        return
    spent, _ = ours.recover(url, StubSqs(QUEUE_URL), shape_asked())
    print(json.dumps(spent))


def _build(kind: str, url: str) -> None:
    """Attach to tables that are there, with these ids, and fill them."""
    from django.core.management import call_command  # noqa: PLC0415
    from django.db import connection  # noqa: PLC0415

    from bench import ours, plain  # noqa: PLC0415
    from jobs.recovery import control  # noqa: PLC0415
    from jobs.runs.timeline import CONSOLE  # noqa: PLC0415

    def of_kind(statement: str) -> str:
        return statement if kind == "uuid" else statement.replace(UUID, "n")

    schema = plain.SCHEMA
    if kind != "uuid":
        schema = schema.replace("id uuid PRIMARY KEY DEFAULT gen_random_uuid()", "id bigserial PRIMARY KEY")
        schema = schema.replace("current_job_id uuid", "current_job_id bigint")
    with psycopg.connect(url) as direct:
        direct.execute(schema)
    ours.use(url)
    call_command("migrate", verbosity=0)
    # On tables that were there before, recovery only observes until somebody arms it.
    control.arm(CONSOLE, "bench", cutoff=None)
    connection.close()
    ours.fill(url, shape_asked(), of_kind)


if __name__ == "__main__":
    main(*sys.argv[1:])
