"""Seals over the audit, the timeline and the ledgers: a chain of hashes that shows what was changed behind the triggers' back."""
