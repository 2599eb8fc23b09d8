from __future__ import annotations

import pytest


@pytest.fixture
def live_policies(limiter: None) -> None:
    """The policies are those of the database, as a request finds them that comes right after an edit."""
    from ratelimits.policies import policy_cache

    policy_cache.clear()
