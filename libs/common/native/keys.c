/* The keys of the objects of a JSON document: strings with a colon behind them. How many there are, whether one is there twice, and where what the
 * outermost ones name stands. */
#include "native.h"
#include <string.h>

static inline int is_space(uint8_t one) { return one == ' ' || one == '\n' || one == '\t' || one == '\r'; }

/* Where the string ends that begins at `at`, behind its quotation mark; `length` if it does not. An even number of backslashes escapes each other. */
static size_t string_end(const uint8_t *json, size_t length, size_t at) {
    for (size_t end = at; end < length; end++) {
        const uint8_t *quote = memchr(json + end, '"', length - end);
        if (!quote) break;
        end = (size_t)(quote - json);
        size_t slashes = end;
        while (slashes > at && json[slashes - 1] == '\\') slashes--;
        if ((end - slashes) % 2 == 0) return end;
    }
    return length;
}

/* Of a document that is valid; of any other bytes some number. */
EXPORT size_t llmproxy_keys(const uint8_t *json, size_t length) {
    size_t count = 0;
    for (size_t at = 0; at < length; at++) {
        const uint8_t *quote = memchr(json + at, '"', length - at);
        if (!quote) break;
        at = string_end(json, length, (size_t)(quote - json) + 1) + 1;
        while (at < length && is_space(json[at])) at++;
        count += at < length && json[at] == ':';
    }
    return count;
}

enum { KEYS_MAX = 256, DEPTH_MAX = 64 }; /* Of the objects that are open at once; of more nothing is said. */

static inline uint32_t mark_of(const uint8_t *name, size_t size) {
    uint32_t mark = (uint32_t)size;
    for (size_t at = 0; at < size; at++) mark = (mark ^ name[at]) * 0x01000193u;
    return mark;
}

/* Of a document that is valid: 0 when no object has a key twice, 1 when that cannot be said for certain: one has, or a key is written with
 * escapes, or there are too many. Of any other bytes 0 or 1. */
EXPORT int llmproxy_keys_repeat(const uint8_t *json, size_t length) {
    struct { const uint8_t *name; size_t length; } keys[KEYS_MAX];
    uint32_t marks[KEYS_MAX]; /* Of each: what another name hardly has, so that a name is compared with few. */
    size_t first[DEPTH_MAX + 1]; /* Of each open object, which of `keys` its own begin with. */
    size_t count = 0, depth = 0;
    first[0] = 0;
    for (size_t at = 0; at < length; at++) {
        if (json[at] == '{') {
            if (depth == DEPTH_MAX) return 1;
            first[++depth] = count;
        } else if (json[at] == '}') {
            if (depth == 0) return 1;
            count = first[depth--];
        } else if (json[at] == '"') {
            const uint8_t *name = json + at + 1;
            size_t end = string_end(json, length, at + 1);
            size_t behind = end + 1;
            while (behind < length && is_space(json[behind])) behind++;
            if (behind >= length) return 0;
            at = behind - 1;
            if (json[behind] != ':') continue;
            size_t size = end - (size_t)(name - json);
            if (count == KEYS_MAX || memchr(name, '\\', size)) return 1;
            uint32_t mark = mark_of(name, size);
            for (size_t other = first[depth]; other < count; other++)
                if (marks[other] == mark && keys[other].length == size && !memcmp(keys[other].name, name, size)) return 1;
            marks[count] = mark;
            keys[count].name = name;
            keys[count++].length = size;
        }
    }
    return 0;
}

/* Of the value of a member. `inside` is where the first thing within an array or an object stands, or its end. No value begins at 0. */
typedef struct { size_t begin, end, inside; } Value;

static size_t behind_spaces(const uint8_t *json, size_t length, size_t at) {
    while (at < length && is_space(json[at])) at++;
    return at;
}

/* Behind the bracket that closes the one there; `length` if none does. Whether they are of one kind is not asked. */
static size_t behind_brackets(const uint8_t *json, size_t length, size_t at) {
    for (size_t depth = 0; at < length; at++) {
        uint8_t one = json[at];
        if (one == '"') {
            at = string_end(json, length, at + 1);
        } else if ((one | 0x20) == '{') {
            depth++;
        } else if ((one | 0x20) == '}') {
            if (--depth == 0) return at + 1;
        }
    }
    return length;
}

static size_t value_end(const uint8_t *json, size_t length, size_t at) {
    if (at < length && json[at] == '"') {
        size_t end = string_end(json, length, at + 1);
        return end < length ? end + 1 : length;
    }
    if (at < length && (json[at] | 0x20) == '{') return behind_brackets(json, length, at);
    while (at < length && json[at] != ',' && json[at] != '}' && !is_space(json[at])) at++;
    return at;
}

static int hex_digit(uint8_t one) {
    if (one >= '0' && one <= '9') return one - '0';
    one |= 0x20;
    return one >= 'a' && one <= 'f' ? one - 'a' + 10 : 255;
}

/* Whether a key, as it is written, is a name in ASCII. */
static int is_named(const uint8_t *key, const uint8_t *end, const char *name) {
    for (; key < end && *name; name++) {
        unsigned one = *key++;
        if (one == '\\' && end - key >= 5 && *key == 'u') {
            one = 0;
            for (int digit = 1; digit < 5; digit++) one = one << 4 | (unsigned)hex_digit(key[digit]);
            key += 5;
        }
        if (one != (uint8_t)*name) return 0;
    }
    return key == end && !*name;
}

/* Where the values of an object's members stand that have one of the names, which are ended by zeros; of two with one name the last. 0 when the
 * document is no object, or has no end. Nothing else is said of whether it is valid. */
EXPORT int llmproxy_members(const uint8_t *json, size_t from, size_t length, const char *names, size_t count, Value *out) {
    memset(out, 0, count * sizeof *out);
    size_t at = behind_spaces(json, length, from);
    if (at >= length || json[at] != '{') return 0;
    at = behind_spaces(json, length, at + 1);
    if (at < length && json[at] == '}') return behind_spaces(json, length, at + 1) == length;
    while (at < length && json[at] == '"') {
        size_t key = at + 1, key_end = string_end(json, length, key);
        at = behind_spaces(json, length, key_end + 1);
        if (at >= length || json[at] != ':') return 0;
        Value value = {.begin = behind_spaces(json, length, at + 1)};
        at = value.end = value_end(json, length, value.begin);
        const char *name = names;
        for (size_t one = 0; one < count; one++, name += strlen(name) + 1)
            if (is_named(json + key, json + key_end, name)) {
                value.inside = behind_spaces(json, length, value.begin + 1);
                out[one] = value;
            }
        at = behind_spaces(json, length, at);
        if (at >= length) return 0;
        if (json[at] == '}') return behind_spaces(json, length, at + 1) == length;
        if (json[at] != ',') return 0;
        at = behind_spaces(json, length, at + 1);
    }
    return 0;
}
