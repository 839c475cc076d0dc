/* The keys of the objects of a JSON document: strings with a colon behind them. How many there are, and whether one is there twice. */
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
