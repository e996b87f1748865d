"""The contract of services: an AsyncAPI 3.0 document, and what is made of it."""
