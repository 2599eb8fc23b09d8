"""The engine, which decides whether a request is within its limits, in the store or locally."""
