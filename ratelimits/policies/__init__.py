"""Policies in force, their wording and the global switch."""
