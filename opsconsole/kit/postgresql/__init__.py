"""The database backend: Django's for PostgreSQL, which also knows what became of a change when the connection breaks."""
