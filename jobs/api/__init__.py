"""The API routes about jobs."""
