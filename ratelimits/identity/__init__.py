"""The identity that a request counts under: its API key, its user or its address."""
