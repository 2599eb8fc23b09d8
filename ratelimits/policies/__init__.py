"""Policies: the cache in each process, the wording, and the global switch."""
