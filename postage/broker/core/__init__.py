"""The rules of the broker: virtual hosts, exchanges and queues, without sockets and clients."""
