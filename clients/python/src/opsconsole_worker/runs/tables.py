"""The contract tables of this process, for its statements."""

from __future__ import annotations

from opsconsole_worker.mapping import process_mapping

JOBS = process_mapping.current().jobs
HEARTBEATS = process_mapping.current().worker_heartbeats
