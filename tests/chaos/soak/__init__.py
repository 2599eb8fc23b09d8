"""A soak: two hosts work on jobs for minutes while everything around them fails, and nothing may be lost or done twice."""
