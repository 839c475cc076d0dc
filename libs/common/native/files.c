/* Whether a JSON document may carry a file: where there is one, something is called "data", or "file_data", or begins with "data:". */
#include "native.h"
#include <string.h>

static const char DATA[] = "data", ESCAPED[] = "\\u00"; /* As a letter of it is written with an escape. */
enum { SIZE = 4, CAPITAL = 0x20 };

/* Of any bytes: 0 where none of it is there, in whatever capitals; else 1. */
EXPORT int llmproxy_may_carry_files(const uint8_t *json, size_t length) {
    uint8_t found = 0;
    for (size_t at = 0; at + SIZE <= length; at++) { /* Without a way out, so that compilers take many at once. */
        const uint8_t *here = json + at;
        found |= ((here[0] | CAPITAL) == DATA[0]) & ((here[1] | CAPITAL) == DATA[1]) & ((here[2] | CAPITAL) == DATA[2]) & ((here[3] | CAPITAL) == DATA[3]);
    }
    for (const uint8_t *end = json + length; !found && (json = memchr(json, ESCAPED[0], (size_t)(end - json))); json++)
        found = end - json >= SIZE && !memcmp(json, ESCAPED, SIZE);
    return found;
}
