"""The work of a worker: its loop, its handlers, and its patience with outages."""
