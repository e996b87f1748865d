"""The bytes of AMQP 0-9-1 as the broker reads and writes them; no rule of the broker is here."""
