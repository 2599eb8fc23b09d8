"""The database of a worker: what the protocol needs of it, and the connection of a worker that stands alone."""
