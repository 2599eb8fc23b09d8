"""Alarms that arrive through Amazon SNS."""
