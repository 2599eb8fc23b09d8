"""Messages to SQS: the outbox, its dispatcher, the message format and queue depths."""
