"""What a process of the console remembers between requests, emptied for a test: an earlier test must not decide it."""

from __future__ import annotations

from alerts.aws import sns
from alerts.sending import banner
from opsconsole import health, overview, unavailable
from opsconsole.cluster import results, scheduler
from opsconsole.kit import built_once, changed_tables, full_disk, metric_files, schema_version
from opsconsole.sign_in.oidc import provider
from opsconsole.trends import report
from ratelimits.identity import untrusted_forwarding
from ratelimits.keys import api_keys
from ratelimits.records import recording


def empty() -> None:
    """Forget all of it, without asking the database."""
    for memory in (banner.memory, overview.memory, report.memory, unavailable.memory):
        memory.clear()
    for kept in (health._logged, metric_files._failed_at, scheduler._logged, sns._certificates):
        kept.clear()
    built_once.forget()
    results._since_look.clear()
    untrusted_forwarding._logged.clear()
    untrusted_forwarding.take_hidden()
    api_keys.clear_cache()
    api_keys._cache.last_used.clear()
    changed_tables._last_answer["changed"] = False
    full_disk.note_write()
    provider.forget()
    recording.discard()
    # The tests' database is always migrated. Tests without a database must not ask it.
    schema_version._version.missing = False
