"""Retention: what is kept for how long, what is due, what was removed, and how fast tables grow."""
