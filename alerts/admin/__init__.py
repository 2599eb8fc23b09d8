"""The pages of alerts, rules, channels and monitors."""

from alerts.admin.alert import AlertAdmin
from alerts.admin.channel import ChannelAdmin
from alerts.admin.external import DeadManPingAdmin, SnsMessageAdmin
from alerts.admin.monitor import MonitorAdmin
from alerts.admin.rule import RuleAdmin

__all__ = ["AlertAdmin", "ChannelAdmin", "DeadManPingAdmin", "MonitorAdmin", "RuleAdmin", "SnsMessageAdmin"]
