from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes.sqs import FakeSqs

if TYPE_CHECKING:
    from tests.jobs.dead_letters.account import Account


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Account:
    """Provide two queues with dead letter queues on a simulated clock. Receives do not wait."""
    # Models can be imported only after the settings are loaded.
    from jobs.dead_letters import scan
    from opsconsole_worker import sqs
    from tests.jobs.dead_letters import account as made

    settings.QUEUES = dict(made.QUEUES)
    settings.AWS_ENDPOINT_URL = None
    monkeypatch.setattr(scan, "WAIT_SECONDS", 0)
    clock = made.Clock()
    fake = FakeSqs(clock=clock, wall=clock.wall)
    for url in (made.QUEUE, made.DLQ, made.FIFO, made.FIFO_DLQ):
        fake.create(url)
    monkeypatch.setattr(sqs, "client_for", fake.client_for)
    return made.Account(fake, clock)
