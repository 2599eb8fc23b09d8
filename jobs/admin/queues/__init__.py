"""The lists of queues, outgoing messages and workers."""
