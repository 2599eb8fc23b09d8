"""The contract tables of this process, for its statements."""

from __future__ import annotations

from opsconsole_worker.mapping import chosen

JOBS = chosen.current().jobs
HEARTBEATS = chosen.current().worker_heartbeats
