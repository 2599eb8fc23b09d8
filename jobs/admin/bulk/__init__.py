"""The pages of bulk operations."""
