"""RPC from the caller's side and the server's: calls, their replies, and the peers that answer."""
