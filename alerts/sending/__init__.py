"""Delivery of notifications: who is addressed, when, and what came of each attempt."""
