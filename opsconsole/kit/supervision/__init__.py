"""Child processes that end with their owner, and programs that are kept running."""
