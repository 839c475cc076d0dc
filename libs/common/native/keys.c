/* How many keys the objects of a JSON document have together: strings with a colon behind them. */
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
