"""The fault suite: what goes wrong between components and their broker, under load."""
