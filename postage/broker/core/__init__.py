"""The rules of the broker: virtual hosts, exchanges, queues.  No sockets, no clients."""
