"""Stand-ins for external services, with the failures that the real services have."""
