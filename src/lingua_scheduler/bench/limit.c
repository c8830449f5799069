/* The limit of the machine: one epoll loop that takes WebSocket frames, unmasks them, finds the audio and decodes it.
 *
 * Built and run by the load tool. Prints its port, and ends when its standard input closes. It knows just what the load
 * sends: a handshake (answered without a hash), `session_init` (answered with a fixed session), chunks in JSON or binary.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ = 1 << 18, KEPT = 1 << 21 };

struct peer {
    int is_open;          /* whether the handshake is over */
    size_t have, size;    /* bytes of a frame that is not whole, and their room */
    uint8_t *data;
    size_t heard;         /* where the next audio goes in `audio` */
    uint8_t *audio;
};

static int8_t value[256];
static uint8_t scratch[READ];
static const char HELLO[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                            "Sec-WebSocket-Accept: x\r\n\r\n";
static const char ACK[] = "{\"type\":\"session_init_ack\",\"session_id\":\"session-00000000000000000000000000000000\","
                          "\"message\":\"\",\"trace_id\":\"\",\"protocol_version\":\"1.1\",\"use_binary_frame\":true,"
                          "\"negotiated_codec\":\"pcm16\",\"negotiated_audio_format\":\"pcm16\","
                          "\"negotiated_sample_rate\":16000,\"negotiated_channel_count\":1}";

static void say(int fd, const void *data, size_t size) {
    if (write(fd, data, size) != (ssize_t)size) exit(1);
}

static void answer_init(int fd) {
    uint8_t head[4] = {0x81, 126, (sizeof ACK - 1) >> 8, (sizeof ACK - 1) & 255};
    say(fd, head, 4);
    say(fd, ACK, sizeof ACK - 1);
}

static uint8_t *room(struct peer *p, size_t size) {
    if (p->heard + size > KEPT) p->heard = 0;
    if (!p->audio && !(p->audio = malloc(KEPT))) exit(1);
    uint8_t *at = p->audio + p->heard;
    p->heard += size;
    return at;
}

static void decode(struct peer *p, const uint8_t *text, size_t size) {
    uint8_t *out = room(p, size / 4 * 3);
    for (size_t i = 0; i + 4 <= size; i += 4, out += 3) {
        uint32_t bits = value[text[i]] << 18 | value[text[i + 1]] << 12 | value[text[i + 2]] << 6 | value[text[i + 3]];
        out[0] = bits >> 16, out[1] = bits >> 8, out[2] = bits;
    }
}

static void on_frame(int fd, struct peer *p, int kind, const uint8_t *data, size_t size) {
    if (kind == 2) {
        size_t at = 12 + data[1];
        if (data[0] == 1 && size >= at) memcpy(room(p, size - at), data + at, size - at);
    } else if (kind == 1) {
        const uint8_t *from = memmem(data, size, "\"payload\":\"", 11);
        if (!from) {
            answer_init(fd);
            return;
        }
        from += 11;
        const uint8_t *to = memchr(from, '"', size - (from - data));
        if (to) decode(p, from, to - from);
    }
}

/* How many bytes of `data` were whole frames. */
static size_t take_frames(int fd, struct peer *p, uint8_t *data, size_t have) {
    size_t at = 0;
    while (have - at >= 6) {
        uint8_t *head = data + at;
        size_t size = head[1] & 127, start = 2;
        if (size == 126) size = head[2] << 8 | head[3], start = 4;
        else if (size == 127) {
            if (have - at < 10) break;
            size = 0, start = 10;
            for (int i = 2; i < 10; i++) size = size << 8 | head[i];
        }
        if (have - at < start + 4 + size) break;
        uint32_t key;
        memcpy(&key, head + start, 4);
        uint8_t *body = head + start + 4;
        uint64_t wide = (uint64_t)key << 32 | key, word;
        size_t i = 0;
        for (; i + 8 <= size; i += 8) memcpy(&word, body + i, 8), word ^= wide, memcpy(body + i, &word, 8);
        for (; i < size; i++) body[i] ^= ((uint8_t *)&key)[i & 3];
        on_frame(fd, p, head[0] & 15, body, size);
        at += start + 4 + size;
    }
    return at;
}

static int on_readable(int fd, struct peer *p) {
    uint8_t *data = scratch;
    size_t have = p->have;
    memcpy(data, p->data, have);
    ssize_t got = read(fd, data + have, READ - have);
    if (got <= 0) return got < 0 && errno == EAGAIN ? 0 : -1;
    have += got;
    size_t used = 0;
    if (!p->is_open) {
        if (have < 4 || memcmp(data + have - 4, "\r\n\r\n", 4)) used = 0;
        else used = have, p->is_open = 1, say(fd, HELLO, sizeof HELLO - 1);
    } else used = take_frames(fd, p, data, have);
    p->have = have - used;
    if (p->have > p->size && !(p->data = realloc(p->data, p->size = p->have))) exit(1);
    memcpy(p->data, data + used, p->have);
    return 0;
}

int main(void) {
    const char *digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int i = 0; i < 64; i++) value[(uint8_t)digits[i]] = i;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    struct peer *peers = calloc(files.rlim_max, sizeof *peers);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), poll = epoll_create1(0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    if (!peers || bind(listener, (void *)&at, length) || listen(listener, 1024)) return 1;
    getsockname(listener, (void *)&at, &length);
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    struct epoll_event events[256], one = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &one);
    one.data.fd = 0;
    epoll_ctl(poll, EPOLL_CTL_ADD, 0, &one);
    for (;;) {
        int count = epoll_wait(poll, events, 256, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == 0) return 0;
            if (fd != listener) {
                if (on_readable(fd, &peers[fd])) close(fd), free(peers[fd].data), free(peers[fd].audio), peers[fd] = (struct peer){0};
                continue;
            }
            for (int peer; (peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
                setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
                one.data.fd = peer;
                epoll_ctl(poll, EPOLL_CTL_ADD, peer, &one);
            }
        }
    }
}
