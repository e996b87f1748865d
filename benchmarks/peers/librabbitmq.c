/* librabbitmq, one thread: what the same work costs without Python, gevent and JSON.
 *
 * The roles and the lines on standard input and output are those of work.py; "callers" are calls,
 * or unconfirmed messages, in flight.  Every message is compared with what it must be.
 *
 *     librabbitmq version
 *     librabbitmq ROLE URL QUEUE EXCHANGE PAYLOAD CALLERS SECONDS COUNT WARM_UP CONFIRM PERSISTENT
 */
#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/tcp_socket.h>
#else /* before 0.12 */
#include <amqp.h>
#include <amqp_tcp_socket.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CHANNEL = 1, PREFETCH = 100, FIRST = 100000, WARM_UP_NUMBERS = 800000 };
static const char NUMBER[] = "100000"; /* stands in the payload where its number is to stand */

static struct job {
    const char *role, *url, *queue, *exchange;
    char *payload;
    int callers;
    double seconds;
    int count;
    double warm_up;
    int confirm, persistent;
} job;
static amqp_connection_state_t connection;

static void fail(const char *what) {
    fprintf(stderr, "librabbitmq: %s failed\n", what);
    exit(1);
}

static void must(int status, const char *what) {
    if (status != AMQP_STATUS_OK) fail(what);
}

static void answered(const char *what) {
    if (amqp_get_rpc_reply(connection).reply_type != AMQP_RESPONSE_NORMAL) fail(what);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void connect_to_broker(void) {
    struct amqp_connection_info info;
    char *url = strdup(job.url);
    must(amqp_parse_url(url, &info), "reading the URL");
    connection = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(connection);
    must(amqp_socket_open(socket, info.host, info.port), "connecting");
    amqp_rpc_reply_t reply = amqp_login(connection, info.vhost, 0, AMQP_DEFAULT_FRAME_SIZE, 0,
                                        AMQP_SASL_METHOD_PLAIN, info.user, info.password);
    if (reply.reply_type != AMQP_RESPONSE_NORMAL) fail("logging in");
    amqp_channel_open(connection, CHANNEL);
    answered("opening a channel");
}

/* The message with that number; good until the next one is asked for. */
static amqp_bytes_t payload(int number) {
    static char *digits;
    if (digits == NULL) digits = strstr(job.payload, NUMBER);
    char text[16];
    snprintf(text, sizeof text, "%06d", FIRST + number);
    memcpy(digits, text, strlen(NUMBER));
    return amqp_cstring_bytes(job.payload);
}

static int same(amqp_bytes_t one, amqp_bytes_t other) {
    return one.len == other.len && memcmp(one.bytes, other.bytes, one.len) == 0;
}

static void wait_for_line(void) {
    char line[64];
    if (fgets(line, sizeof line, stdin) == NULL) exit(0);
}

static int ascending(const void *one, const void *other) {
    double difference = *(const double *)one - *(const double *)other;
    return (difference > 0) - (difference < 0);
}

static void report(int count, double *durations) {
    if (durations == NULL || count == 0) {
        printf("{\"count\": %d, \"p50\": null, \"p99\": null}\n", count);
    } else {
        qsort(durations, (size_t)count, sizeof *durations, ascending);
        printf("{\"count\": %d, \"p50\": %f, \"p99\": %f}\n", count,
               durations[(count - 1) / 2] * 1e3, durations[(int)((count - 1) * 0.99)] * 1e3);
    }
    fflush(stdout);
}

static void subscribe(amqp_bytes_t queue, int no_ack) {
    amqp_basic_qos(connection, CHANNEL, 0, PREFETCH, 0);
    answered("basic.qos");
    amqp_basic_consume(connection, CHANNEL, queue, amqp_empty_bytes, 0, no_ack, 0,
                       amqp_empty_table);
    answered("basic.consume");
}

static void next_message(amqp_envelope_t *envelope) {
    amqp_maybe_release_buffers(connection);
    if (amqp_consume_message(connection, envelope, NULL, 0).reply_type != AMQP_RESPONSE_NORMAL)
        fail("waiting for a message");
}

static void serve(void) {
    subscribe(amqp_cstring_bytes(job.queue), 0);
    for (;;) {
        amqp_envelope_t request;
        next_message(&request);
        amqp_basic_properties_t *asked = &request.message.properties;
        amqp_basic_properties_t properties = {._flags = AMQP_BASIC_CORRELATION_ID_FLAG,
                                              .correlation_id = asked->correlation_id};
        must(amqp_basic_publish(connection, CHANNEL, amqp_empty_bytes, asked->reply_to, 0, 0,
                                &properties, request.message.body), "answering");
        must(amqp_basic_ack(connection, CHANNEL, request.delivery_tag, 0), "acknowledging");
        amqp_destroy_envelope(&request);
    }
}

static void call(int number, amqp_bytes_t replies) {
    char id[16];
    snprintf(id, sizeof id, "%d", number);
    amqp_basic_properties_t properties = {
        ._flags = AMQP_BASIC_CORRELATION_ID_FLAG | AMQP_BASIC_REPLY_TO_FLAG,
        .correlation_id = amqp_cstring_bytes(id), .reply_to = replies};
    must(amqp_basic_publish(connection, CHANNEL, amqp_cstring_bytes(job.exchange),
                            amqp_cstring_bytes(job.queue), 0, 0, &properties, payload(number)),
         "calling");
}

/* The number of the call that an answer has come for, which is compared. */
static int answer(void) {
    amqp_envelope_t reply;
    char id[16] = "";
    next_message(&reply);
    amqp_bytes_t told = reply.message.properties.correlation_id;
    if (told.len >= sizeof id) fail("reading a correlation id");
    memcpy(id, told.bytes, told.len);
    int number = atoi(id);
    if (!same(reply.message.body, payload(number))) fail("comparing an answer");
    amqp_destroy_envelope(&reply);
    return number;
}

static void call_for(double seconds, int first, amqp_bytes_t replies) {
    double *begun = malloc((size_t)job.count * sizeof *begun), *durations = malloc(
        (size_t)job.count * sizeof *durations), until = now() + seconds;
    int sent = 0, done = 0;
    while (1) {
        while (sent < job.count && sent - done < job.callers && now() < until) {
            begun[sent] = now();
            call(first + sent++, replies);
        }
        if (done == sent) break;
        int number = answer() - first;
        durations[done++] = now() - begun[number];
    }
    report(done, durations);
    free(begun);
    free(durations);
    wait_for_line();
}

static void call_both(void) {
    amqp_queue_declare_ok_t *declared = amqp_queue_declare(
        connection, CHANNEL, amqp_empty_bytes, 0, 0, 1, 1, amqp_empty_table);
    answered("queue.declare");
    amqp_bytes_t replies = amqp_bytes_malloc_dup(declared->queue);
    subscribe(replies, 1);
    call_for(job.warm_up, WARM_UP_NUMBERS, replies);
    call_for(job.seconds, 0, replies);
}

/* How many publishes the next confirm settles; they need not come in the order of the tags. */
static int confirms(void) {
    static unsigned char confirmed[2 * WARM_UP_NUMBERS];
    static uint64_t lowest = 1;
    amqp_frame_t frame;
    amqp_maybe_release_buffers(connection);
    must(amqp_simple_wait_frame(connection, &frame), "waiting for a confirm");
    if (frame.frame_type != AMQP_FRAME_METHOD || frame.payload.method.id != AMQP_BASIC_ACK_METHOD)
        fail("being confirmed");
    amqp_basic_ack_t *ack = frame.payload.method.decoded;
    int count = 0;
    for (uint64_t tag = ack->multiple ? lowest : ack->delivery_tag; tag <= ack->delivery_tag; tag++)
        if (!confirmed[tag]) confirmed[tag] = 1, count++;
    while (confirmed[lowest]) lowest++;
    return count;
}

static void publish_for(double seconds, int first) {
    amqp_basic_properties_t properties = {._flags = AMQP_BASIC_DELIVERY_MODE_FLAG,
                                          .delivery_mode = job.persistent ? 2 : 1};
    amqp_bytes_t exchange = amqp_cstring_bytes(job.exchange), key = amqp_cstring_bytes(job.queue);
    int sent = 0, waiting = 0;
    double until = now() + seconds;
    while (sent < job.count && now() < until) {
        must(amqp_basic_publish(connection, CHANNEL, exchange, key, 0, 0, &properties,
                                payload(first + sent++)), "publishing");
        if (job.confirm && ++waiting == job.callers) waiting -= confirms();
    }
    while (waiting > 0) waiting -= confirms();
    report(sent, NULL);
    wait_for_line();
}

static void publish_both(void) {
    if (job.confirm) {
        amqp_confirm_select(connection, CHANNEL);
        answered("confirm.select");
    }
    publish_for(job.warm_up, WARM_UP_NUMBERS);
    publish_for(job.seconds, 0);
}

static void consume(void) {
    subscribe(amqp_cstring_bytes(job.queue), 0);
    for (int done = 0; done < job.count; done++) {
        amqp_envelope_t message;
        next_message(&message);
        if (done == 0) report(1, NULL);
        if (!same(message.message.body, payload(done))) fail("comparing a message");
        must(amqp_basic_ack(connection, CHANNEL, message.delivery_tag, 0), "acknowledging");
        amqp_destroy_envelope(&message);
    }
    report(job.count - 1, NULL);
    amqp_connection_close(connection, AMQP_REPLY_SUCCESS);
}

int main(int count, char **arguments) {
    if (count == 2 && !strcmp(arguments[1], "version")) return puts(amqp_version()) < 0;
    if (count != 12) fail("reading the arguments");
    char **next = arguments;
    job.role = *++next;
    job.url = *++next;
    job.queue = *++next;
    job.exchange = *++next;
    job.payload = *++next;
    job.callers = atoi(*++next);
    job.seconds = atof(*++next);
    job.count = atoi(*++next);
    job.warm_up = atof(*++next);
    job.confirm = atoi(*++next);
    job.persistent = atoi(*++next);
    connect_to_broker();
    if (!strcmp(job.role, "serve")) serve();
    if (!strcmp(job.role, "call")) call_both();
    if (!strcmp(job.role, "publish") || !strcmp(job.role, "fill")) publish_both();
    if (!strcmp(job.role, "consume")) consume();
    return 0;
}
