"""Connections and channels for the greenlets of a hub; the only package that imports pika."""

from postage.green.amqp.import_pika import import_pika

import_pika()  # before any module here does
