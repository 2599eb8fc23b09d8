"""The pages of limited requests, policies and API keys."""

from ratelimits.admin.keys import ApiKeyAdmin
from ratelimits.admin.limited_requests import LimitedRequestsAdmin
from ratelimits.admin.limiter import LimiterAdmin
from ratelimits.admin.policy import PolicyAdmin

__all__ = ["ApiKeyAdmin", "LimitedRequestsAdmin", "LimiterAdmin", "PolicyAdmin"]
