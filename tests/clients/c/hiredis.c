// hiredis: requests that block, pipelines, timeouts, and its asynchronous half on libevent.

#include <event2/event.h>
#include <hiredis/adapters/libevent.h>
#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int checks = 0, failures = 0;

static void check(const char *what, int holds) {
    checks++;
    if (!holds) {
        failures++;
        printf("FAILED %s\n", what);
    }
}

static int ports[16], nodes = 0, turn = 0;

static int next_port(void) { return ports[turn++ % nodes]; }

static redisContext *dial(void) {
    redisContext *c = redisConnect("127.0.0.1", next_port());
    if (c == NULL || c->err) {
        printf("FAILED to connect\n");
        exit(1);
    }
    return c;
}

// Whether a request is answered by a reply of this type, with this text or number.
static int answers(redisContext *c, int type, const char *text, long long number, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    redisReply *reply = redisvCommand(c, format, arguments);
    va_end(arguments);
    int holds = reply != NULL && reply->type == type && (text == NULL || strcmp(reply->str, text) == 0) &&
                (type != REDIS_REPLY_INTEGER || reply->integer == number);
    if (reply != NULL) freeReplyObject(reply);
    return holds;
}

enum { MANY = 10000 };
static struct event_base *base;
static redisAsyncContext *asking, *listening;
static int counted = 0, heard = 0;

static void on_count(redisAsyncContext *c, void *reply, void *unused) {
    (void)unused;
    const redisReply *r = reply;
    counted += r != NULL && r->type == REDIS_REPLY_INTEGER && r->integer == counted + 1;
    if (counted == MANY) redisAsyncDisconnect(c);
}

static void on_message(redisAsyncContext *c, void *reply, void *unused) {
    (void)unused;
    const redisReply *r = reply;
    if (r == NULL || r->type != REDIS_REPLY_ARRAY || r->elements != 3) return;
    if (strcmp(r->element[0]->str, "subscribe") == 0) {
        redisAsyncCommand(asking, NULL, NULL, "PUBLISH news %s", "hello");
    } else if (strcmp(r->element[0]->str, "message") == 0) {
        heard += strcmp(r->element[2]->str, "hello") == 0;
        redisAsyncDisconnect(c);
        redisAsyncDisconnect(asking);
    }
}

static redisAsyncContext *dial_async(void) {
    redisAsyncContext *c = redisAsyncConnect("127.0.0.1", next_port());
    if (c == NULL || c->err) exit(1);
    redisLibeventAttach(c, base);
    return c;
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    for (char *word = strtok(strdup(getenv("PORTS")), " "); word != NULL && nodes < 16; word = strtok(NULL, " ")) {
        ports[nodes++] = atoi(word);
    }
    redisContext *c = dial();
    check("FLUSHALL", answers(c, REDIS_REPLY_STATUS, "OK", 0, "FLUSHALL"));
    check("SET of bytes", answers(c, REDIS_REPLY_STATUS, "OK", 0, "SET %b %b", "k\0y", (size_t)3, "a\0b", (size_t)3));
    redisReply *reply = redisCommand(c, "GET %b", "k\0y", (size_t)3);
    check("GET of bytes", reply != NULL && reply->len == 3 && memcmp(reply->str, "a\0b", 3) == 0);
    freeReplyObject(reply);
    check("nothing", answers(c, REDIS_REPLY_NIL, NULL, 0, "GET none"));
    check("a number", answers(c, REDIS_REPLY_INTEGER, NULL, 1, "INCR n"));
    check("an error", answers(c, REDIS_REPLY_ERROR, NULL, 0, "LPUSH n x"));

    redisAppendCommand(c, "MULTI");
    redisAppendCommand(c, "INCR n");
    redisAppendCommand(c, "EXEC");
    for (int i = 0; i < 3; i++) {
        check("a pipeline", redisGetReply(c, (void **)&reply) == REDIS_OK);
        if (i == 2) check("EXEC", reply->elements == 1 && reply->element[0]->integer == 2);
        freeReplyObject(reply);
    }
    for (int i = 0; i < MANY; i++) redisAppendCommand(c, "SET many:%d %d", i, i);
    int stored = 0;
    for (int i = 0; i < MANY && redisGetReply(c, (void **)&reply) == REDIS_OK; i++) {
        stored += reply->type == REDIS_REPLY_STATUS;
        freeReplyObject(reply);
    }
    check("a long pipeline", stored == MANY);
    struct timeval brief = {0, 50000};
    redisSetTimeout(c, brief);
    check("a wait is given up", redisCommand(c, "BLPOP empty 60") == NULL && c->err == REDIS_ERR_IO);
    redisFree(c);

    base = event_base_new();
    asking = dial_async();
    for (int i = 0; i < MANY; i++) redisAsyncCommand(asking, on_count, NULL, "INCR counted");
    event_base_dispatch(base);
    check("replies come in order", counted == MANY);
    asking = dial_async();
    listening = dial_async();
    redisAsyncCommand(listening, on_message, NULL, "SUBSCRIBE news");
    event_base_dispatch(base);
    check("a message", heard == 1);
    event_base_free(base);

    printf("%d of %d checks failed\n", failures, checks);
    return failures != 0;
}
