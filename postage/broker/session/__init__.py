"""One client of the broker: its connection, its channels, its consumers.  No sockets."""
