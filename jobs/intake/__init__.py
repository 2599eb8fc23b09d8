"""Jobs from producers: parsing, enqueueing, idempotency and the position in the queue."""
