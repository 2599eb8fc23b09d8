"""API keys: creation, authentication and revocation."""
