"""A component without Postage: plain pika and JSON, as one in any other language would be.

``foreign.py EXCHANGE``: sends a command by the key ``log``, calls ``double`` by the key ``rk`` and
sends what came back as a status; then serves one call and one message by the key ``sums``.
"""

import json
import os
import sys

import pika

EXCHANGE = sys.argv[1]


def body(type_, name, content, category="message"):
    """Return a message of the version 2 as JSON."""
    return json.dumps(
        {
            "type": type_,
            "name": name,
            "category": category,
            "version": "2",
            "fingerprint": {"name": "foreign"},
            "content": content,
            "_reserved": {},
        }
    )


def main():
    credentials = pika.PlainCredentials(os.environ["POSTAGE_USER"], os.environ["POSTAGE_PASSWORD"])
    host, port = os.environ["POSTAGE_HOST"], int(os.environ["POSTAGE_PORT"])
    where = pika.ConnectionParameters(host, port, os.environ["POSTAGE_VHOST"], credentials)
    with pika.BlockingConnection(where) as connection:
        send_call_and_answer(connection.channel())


def send_call_and_answer(channel):
    channel.exchange_declare(EXCHANGE, "direct", durable=True)
    sums = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(sums, EXCHANGE, "sums")
    answers = channel.queue_declare("", exclusive=True).method.queue

    channel.basic_publish(EXCHANGE, "log", body("command", "log", {"parameters": "from afar"}))
    call = pika.BasicProperties(reply_to=answers, correlation_id="1")
    question = body("command", "double", {"parameters": 21}, "rpc")
    channel.basic_publish(EXCHANGE, "rk", question, call)
    answer = json.loads(next_of(channel, answers)[2])
    told = body("status", f"{answer['content']['type']} {answer['content']['value']}", {})
    channel.basic_publish(EXCHANGE, "log", told)

    for _ in range(2):
        _, properties, request = next_of(channel, sums)
        numbers = json.loads(request)["content"]["parameters"]
        if properties.reply_to:
            result = {"type": "success", "value": sum(numbers), "message": ""}
            same = pika.BasicProperties(correlation_id=properties.correlation_id)
            channel.basic_publish("", properties.reply_to, body("result", "none", result), same)
        else:
            sender = json.loads(request)["fingerprint"]["name"]
            sys.stdout.write(f"got {numbers} of {sender}\n")


def next_of(channel, queue):
    """Wait for the next message in *queue*; return its method, properties and body."""
    got = next(channel.consume(queue, auto_ack=True))
    channel.cancel()
    return got


if __name__ == "__main__":
    main()
