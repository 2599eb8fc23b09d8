"""Rate limiting: policies, the engine that decides, and the records of limited requests."""
