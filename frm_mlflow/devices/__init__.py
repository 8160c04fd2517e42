"""What hardware this is, and the transports that start a worker on it."""
