"""Seals over the audit and the timeline: a chain of hashes that shows what was changed behind the triggers' back."""
