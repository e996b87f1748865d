"""More processes than one, more nodes than one, and what many processes ask of the broker."""
