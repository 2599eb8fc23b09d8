from alerts.admin.alert import AlertAdmin
from alerts.admin.channel import ChannelAdmin
from alerts.admin.monitor import MonitorAdmin
from alerts.admin.rule import RuleAdmin

__all__ = ["AlertAdmin", "ChannelAdmin", "MonitorAdmin", "RuleAdmin"]
