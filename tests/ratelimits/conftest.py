from __future__ import annotations

import pytest


@pytest.fixture
def live_policies(limiter: None) -> None:
    """Use the policies in the database rather than the built-in ones."""
    from ratelimits.policies import policy_cache

    policy_cache.clear()
