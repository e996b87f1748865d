"""The only place that imports pika: connections and channels for the greenlets of a hub."""

from postage.green.amqp.import_pika import import_pika

import_pika()  # before any module here does
