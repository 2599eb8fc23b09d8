"""The channels that alerts are sent to: Slack, and others through Apprise."""
