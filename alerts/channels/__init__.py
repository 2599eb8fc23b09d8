"""The channels that alerts are sent to: Slack, e-mail, services for incidents, and others through Apprise."""
