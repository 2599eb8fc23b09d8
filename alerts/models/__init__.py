"""The tables of alerts, rules, notifications and their deliveries."""

from alerts.models.alert import Alert
from alerts.models.delivery import Attempt, Channel, Delivery
from alerts.models.external import DeadManPing, SnsMessage
from alerts.models.monitor import Monitor
from alerts.models.notification import Notification
from alerts.models.rule import Gauge, Rule
from alerts.models.slack import SlackClick, SlackPerson

__all__ = [
    "Alert",
    "Attempt",
    "Channel",
    "DeadManPing",
    "Delivery",
    "Gauge",
    "Monitor",
    "Notification",
    "Rule",
    "SlackClick",
    "SlackPerson",
    "SnsMessage",
]
