"""What runs beside the handlers of a processor: the message in hand, and periodic jobs."""
