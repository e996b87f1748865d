"""The classic names of generic applications."""

from postage.green.application import (
    GenericApplication,
    GenericApplicationExchange,
    LoggingProducerStub,
)

__all__ = ["GenericApplication", "GenericApplicationExchange", "LoggingProducerStub"]
