"""The API route that other services ask for a decision."""
