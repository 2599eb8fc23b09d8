"""The operator's API about jobs, dead letters and bulk operations: each route parses, calls a duty and answers."""
