#!/bin/sh
# Make sure that the programs of RabbitMQ are on this machine.  The system's own node is never
# started: tests and demos start private ones.
exec "$(dirname "$0")/install.sh" rabbitmq-server /usr/lib/rabbitmq/bin/rabbitmq-server rabbitmq-server
