"""The engine: decides whether a request is within its limits, in the store or locally."""
