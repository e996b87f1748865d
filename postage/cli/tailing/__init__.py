"""What ``postage tail`` does: it listens to an exchange, and shows each message as a line."""
