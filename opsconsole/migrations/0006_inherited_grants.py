"""What default privileges gave to others on tables of earlier versions is taken back.

A caller of ``find_stale_jobs`` or ``cleanup_rate_limit_requests`` then needs EXECUTE only: they run with their owner's rights.
"""

from importlib import import_module
from typing import Any

from django.conf import settings
from django.db import migrations

from opsconsole import own_tables
from opsconsole.kit.ddl import ReplaceFunction

FIND_STALE_JOBS = import_module("jobs.migrations.0014_restarted_workers").FIND_STALE_JOBS
CLEANUP = import_module("ratelimits.migrations.0003_functions_and_triggers").CLEANUP


def close(apps: Any, schema_editor: Any) -> None:
    own_tables.close(settings.DATABASES["default"]["USER"])


class Migration(migrations.Migration):
    dependencies = [
        ("opsconsole", "0005_audit_seals"),
        ("jobs", "0017_refused_claims"),
        ("ratelimits", "0010_check_quota"),
        ("alerts", "0012_refused_claims_rule"),
    ]

    operations = [
        ReplaceFunction(
            "find_stale_jobs",
            arguments="timestamptz",
            beside="jobs",
            create=FIND_STALE_JOBS,
            before=FIND_STALE_JOBS,
            inherited=True,
        ),
        ReplaceFunction(
            "cleanup_rate_limit_requests",
            arguments="",
            beside="rate_limit_requests",
            create=CLEANUP,
            before=CLEANUP,
            inherited=True,
        ),
        migrations.RunPython(close, migrations.RunPython.noop),
    ]
