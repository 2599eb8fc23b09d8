"""Who asked for what and how often: the records of rate limiting."""
