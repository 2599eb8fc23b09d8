from ratelimits.admin.policy import PolicyAdmin
from ratelimits.admin.switch import SwitchAdmin

__all__ = ["PolicyAdmin", "SwitchAdmin"]
