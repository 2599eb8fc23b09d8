"""The foundation that every app stands on. It imports nothing else of the project."""
