"""The AMQP side of the runtime: the only place that imports pika."""
