"""What people must know of: one open alert for each thing that is wrong."""
