"""The API route through which other services ask for a decision."""
