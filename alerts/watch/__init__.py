"""Monitors of scheduled work, dead-man pings and the retention of old alerts."""
