#!/bin/sh
# Make sure that the programs of RabbitMQ are on this machine: `tools/install_rabbitmq.sh [VERSION]`.
# Without VERSION: any version, from the system's package.  With VERSION, such as 4 or 4.3: the
# system's if it is that version, else one that tools/unpack_rabbitmq.sh brings beside the system's.
# The system's own node is never started: tests and demos start private ones.
set -eu
here=$(dirname "$0")
if [ $# -eq 0 ]; then
    exec "$here/install.sh" rabbitmq-server /usr/lib/rabbitmq/bin/rabbitmq-server rabbitmq-server
fi
for folder in /usr/lib/rabbitmq/lib/rabbitmq_server-"$1".*; do
    if [ -e "$folder" ]; then exit 0; fi
done
exec "$here/unpack_rabbitmq.sh" "$1"
