"""The pages of limited requests, policies and API keys."""

from ratelimits.admin.keys import ApiKeyAdmin
from ratelimits.admin.limited_requests import LimitedRequestsAdmin
from ratelimits.admin.policy import PolicyAdmin
from ratelimits.admin.switch import SwitchAdmin

__all__ = ["ApiKeyAdmin", "LimitedRequestsAdmin", "PolicyAdmin", "SwitchAdmin"]
