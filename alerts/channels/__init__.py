"""The channels that alerts are sent to: Slack, services for incidents, and others through Apprise."""
