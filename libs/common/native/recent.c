/* Texts that were clear a moment ago, by keyed digests (docs/adr/0031): the table is the caller's, who keeps it between two calls.
 * A row of it is a line of a cache, and has the last texts whose digests begin alike, the youngest first. */
#include "native.h"
#include <string.h>

enum { ROW = 4 }; /* 64 bytes. */

/* -- SipHash-2-4 with 128 bits, as its authors publish it: https://github.com/veorq/SipHash */

static inline uint64_t rotated(uint64_t one, int by) { return one << by | one >> (64 - by); }

static inline void mix(Digesting *state) {
    state->a += state->b, state->b = rotated(state->b, 13) ^ state->a, state->a = rotated(state->a, 32);
    state->c += state->d, state->d = rotated(state->d, 16) ^ state->c;
    state->a += state->d, state->d = rotated(state->d, 21) ^ state->a;
    state->c += state->b, state->b = rotated(state->b, 17) ^ state->c, state->c = rotated(state->c, 32);
}

static inline void take(Digesting *state, uint64_t word) {
    state->d ^= word;
    mix(state), mix(state);
    state->a ^= word;
}

/* The least significant byte first, whatever the machine. Without a loop, of which compilers would not make one load. */
static inline uint64_t word_of(const uint8_t *at) {
    return at[0] | (uint64_t)at[1] << 8 | (uint64_t)at[2] << 16 | (uint64_t)at[3] << 24 | (uint64_t)at[4] << 32 | (uint64_t)at[5] << 40 |
           (uint64_t)at[6] << 48 | (uint64_t)at[7] << 56;
}

static uint64_t finished(Digesting *state) {
    for (int round = 0; round < 4; round++) mix(state);
    return state->a ^ state->b ^ state->c ^ state->d;
}

Digesting digesting(const uint8_t *key) {
    uint64_t first = word_of(key), second = word_of(key + 8);
    return (Digesting){first ^ 0x736f6d6570736575u, second ^ 0x646f72616e646f6du ^ 0xee, first ^ 0x6c7967656e657261u, second ^ 0x7465646279746573u, 0};
}

static void siphash(Digesting *under_way, const uint8_t *text, size_t length, uint64_t digest[2]) {
    Digesting state = *under_way;
    for (; state.taken + 8 <= length; state.taken += 8) take(&state, word_of(text + state.taken));
    *under_way = state;
    uint64_t last = (uint64_t)length << 56;
    for (size_t at = state.taken, place = 0; at < length; at++, place += 8) last |= (uint64_t)text[at] << place;
    take(&state, last);
    state.c ^= 0xee;
    digest[0] = finished(&state);
    state.b ^= 0xdd;
    digest[1] = finished(&state);
}

EXPORT void llmproxy_siphash(const uint8_t *key, const uint8_t *text, size_t length, uint64_t *digest) {
    Digesting state = digesting(key);
    siphash(&state, text, length, digest);
}

/* -- the table */

Memory memory_up_to(Digesting *under_way, const uint8_t *text, size_t length) {
    uint64_t digest[2];
    siphash(under_way, text, length, digest);
    return (Memory){.digest = {(uint32_t)digest[0], (uint32_t)(digest[0] >> 32), (uint32_t)digest[1] | 1}}; /* No digest is that of an empty place. */
}

Memory memory_of(const uint8_t *key, const uint8_t *text, size_t length) {
    Digesting state = digesting(key);
    return memory_up_to(&state, text, length);
}

static int is_of_same(const Memory *one, const Memory *other) { return !memcmp(one->digest, other->digest, sizeof one->digest); }

static Memory *row_of(const Recent *recent, const Memory *one) { return recent->rows + (size_t)(one->digest[0] & recent->mask) * ROW; }

/* Moves it to the front of its row. What was there before at that place, or at the end of the row, is gone. */
static void put_first(Memory *row, size_t at, Memory one) {
    memmove(row + 1, row, at * sizeof *row);
    row[0] = one;
}

int is_remembered(const Recent *recent, Memory *one) {
    Memory *row = row_of(recent, one);
    for (size_t at = 0; at < ROW; at++) {
        if (!is_of_same(row + at, one)) continue;
        one->bits = row[at].bits;
        put_first(row, at, *one);
        return 1;
    }
    return 0;
}

void remember(const Recent *recent, const Memory *one) {
    Memory *row = row_of(recent, one);
    size_t at = 0;
    while (at < ROW - 1 && !is_of_same(row + at, one)) at++;
    put_first(row, at, *one);
}

EXPORT void llmproxy_remember(const Recent *recent, const Memory *one) { remember(recent, one); }
