"""The sending of notifications: addressing, delivery with retries, reminders and test messages."""
