/* What the strings of a JSON body say, without parsing it: escapes undone, letters beyond ASCII in lower case. */
#include "native.h"
#include <string.h>

/* Four hexadecimal digits, or -1. */
static inline int32_t unit(const uint8_t *text, size_t length, size_t at) {
    int32_t value = 0;
    if (at + 4 > length) return -1;
    for (size_t end = at + 4; at < end; at++) {
        if (!is_hex(text[at])) return -1;
        value = value << 4 | (is_digit(text[at]) ? text[at] - '0' : (text[at] | 0x20) - 'a' + 10);
    }
    return value;
}

/* The simple lower case of the scripts that have one and that signatures are written in. Never needs more bytes in UTF-8. */
static inline uint32_t lower(uint32_t one) {
    if (one >= 0xc0 && one <= 0xde && one != 0xd7) return one + 0x20;
    if (one == 0x130) return 'i';
    if (one == 0x178) return 0xff;
    if ((one >= 0x100 && one <= 0x137) || (one >= 0x14a && one <= 0x177) || (one >= 0x1ea0 && one <= 0x1eff)) return one | 1;
    if ((one >= 0x139 && one <= 0x148) || (one >= 0x179 && one <= 0x17e)) return one + (one & 1);
    if (one >= 0x391 && one <= 0x3a9 && one != 0x3a2) return one + 0x20;
    if (one >= 0x400 && one <= 0x40f) return one + 0x50;
    if (one >= 0x410 && one <= 0x42f) return one + 0x20;
    if (one >= 0x460 && one <= 0x52f && (one < 0x482 || one > 0x489)) return one >= 0x4c0 && one <= 0x4ce ? one : one | 1;
    return one;
}

static inline size_t put(uint8_t *out, uint32_t one) {
    if (one < 0x80) return out[0] = (uint8_t)one, 1;
    if (one < 0x800) return out[0] = (uint8_t)(0xc0 | one >> 6), out[1] = (uint8_t)(0x80 | (one & 0x3f)), 2;
    if (one < 0x10000) {
        out[0] = (uint8_t)(0xe0 | one >> 12), out[1] = (uint8_t)(0x80 | (one >> 6 & 0x3f)), out[2] = (uint8_t)(0x80 | (one & 0x3f));
        return 3;
    }
    out[0] = (uint8_t)(0xf0 | one >> 18), out[1] = (uint8_t)(0x80 | (one >> 12 & 0x3f));
    out[2] = (uint8_t)(0x80 | (one >> 6 & 0x3f)), out[3] = (uint8_t)(0x80 | (one & 0x3f));
    return 4;
}

/* An escape at a backslash: how many bytes it takes, and in `*meant` what it stands for; 0 for none. What is no character is a space. */
static inline size_t escape(const uint8_t *text, size_t length, size_t at, uint32_t *meant) {
    if (at + 1 >= length) return 0;
    switch (text[at + 1]) {
    case 'n': return *meant = '\n', 2;
    case 't': case 'r': return *meant = ' ', 2;
    case '"': return *meant = '\'', 2; /* So that a quotation mark of the text is none of JSON's. */
    case '/': return *meant = '/', 2;
    case 'u': break;
    default: return 0; /* An escaped backslash stays: what stands behind it may be an escape of its own. */
    }
    int32_t one = unit(text, length, at + 2), other;
    if (one < 0) return 0;
    *meant = one ? (uint32_t)one : ' ';
    if (one < 0xd800 || one > 0xdfff) return 6;
    *meant = ' ';
    if (one > 0xdbff || at + 7 >= length || text[at + 6] != '\\' || text[at + 7] != 'u') return 6;
    other = unit(text, length, at + 8);
    if (other < 0xdc00 || other > 0xdfff) return 6;
    *meant = 0x10000 + ((uint32_t)(one - 0xd800) << 10) + (uint32_t)(other - 0xdc00);
    return 12;
}

/* Whether eight bytes are ASCII without a backslash, which say what they are. */
static inline int are_plain(const uint8_t *at) {
    const uint64_t ones = 0x0101010101010101u, highest = ones << 7;
    uint64_t bytes;
    memcpy(&bytes, at, sizeof bytes);
    uint64_t others = bytes ^ ones * '\\'; /* Zero where a backslash is. */
    return !((bytes | ((others - ones) & ~others)) & highest);
}

/* Writes what the text says, as far as to what stands at `place`. Returns how many bytes were written and, where `origin` is given, in it where in
 * the text that begins, or its length where there is no such place. Inlined, so that who does not ask for it does not pay for it. */
__attribute__((always_inline)) static inline size_t write_plain(const uint8_t *text, size_t length, uint8_t *plain, size_t place, size_t *origin) {
    size_t to = 0, at = 0;
    while (at < length) {
        while (!origin && length - at >= sizeof(uint64_t) && are_plain(text + at)) {
            memcpy(plain + to, text + at, sizeof(uint64_t));
            at += sizeof(uint64_t), to += sizeof(uint64_t);
        }
        if (at == length) break;
        uint8_t one = text[at];
        uint32_t meant;
        size_t taken = 0, from = at;
        if (one == '\\' && !(at && text[at - 1] == '\\')) taken = escape(text, length, at, &meant);
        else if (one >= 0xc3 && one <= 0xd4 && at + 1 < length && (text[at + 1] & 0xc0) == 0x80) {
            meant = (uint32_t)(one & 0x1f) << 6 | (text[at + 1] & 0x3f);
            taken = 2;
        } else if (one == 0xe1 && at + 2 < length && (text[at + 1] & 0xc0) == 0x80 && (text[at + 2] & 0xc0) == 0x80) {
            meant = 0x1000 | (uint32_t)(text[at + 1] & 0x3f) << 6 | (text[at + 2] & 0x3f);
            taken = 3;
        }
        if (taken) {
            to += put(plain + to, lower(meant));
            at += taken;
        } else {
            plain[to++] = text[at++];
        }
        if (origin && to > place) return *origin = from, to;
    }
    if (origin) *origin = length;
    return to;
}

/* `plain` has room for `length` bytes. Returns how many were written. */
EXPORT size_t llmproxy_plain(const uint8_t *text, size_t length, uint8_t *plain) {
    return write_plain(text, length, plain, SIZE_MAX, 0);
}

/* Where in the text that begins which stands at a place of what it says; its length for a place behind all. */
EXPORT size_t llmproxy_plain_origin(const uint8_t *text, size_t length, uint8_t *plain, size_t place) {
    size_t origin;
    write_plain(text, length, plain, place, &origin);
    return origin;
}
