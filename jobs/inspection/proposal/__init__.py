"""The proposal of a mapping for a foreign database: read the snapshot, decide, print. Read-only."""

from __future__ import annotations

from jobs.inspection.proposal import reading
from jobs.inspection.proposal.decision import propose
from jobs.inspection.proposal.proposed import Proposal
from jobs.inspection.proposal.toml_text import render, unsupported

__all__ = ["Proposal", "propose", "propose_mapping", "render", "unsupported"]


def propose_mapping() -> Proposal:
    """Return the proposal for the default database."""
    return propose(reading.read().tables)
