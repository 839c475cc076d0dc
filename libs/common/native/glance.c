/* The firewall's first look at a body, in one call: what of it is new, and whether that is clear (docs/adr/0042). A conversation says everything
 * again with each turn; what a body begins with, up to the end of one of its strings, is not read again when it was clear a moment ago. To parse
 * it would cost more: where strings end is told by the quotation marks. */
#include "native.h"
#include <string.h>

enum {
    BEGINNINGS_MAX = 128, /* Of one body: those of so many bytes, as far apart as these; what is behind them is read each time. */
    BEGINNINGS_BYTES = 1 << 19,
    APART = 64,           /* Bytes at least, and */
    SHARE = 16,           /* a sixteenth of all of it. */
    WORTH_BYTES = 512,    /* A shorter body is read as quickly as its beginnings are looked for. */
    SEAM_BYTES = 128,     /* Of what is known, read again together with what is new; */
    LONG_SEAM_BYTES = 768, /* so many where a letter may take six. */
    GLANCE_BYTES = 4096,  /* More than that is not read at a glance. */
    CANDIDATES_MAX = 64,
};

struct Firewall {
    const Lexicon *lexicon;
    const Words *words;
    uint32_t reach, words_max; /* As of find_near. */
    Recent recent;
};

/* What is new in a body. */
struct New {
    uint32_t begin;   /* Where to begin to read. */
    uint32_t is_seen; /* Whether all of that was read. Then there are words of signatures in it, and candidates, and it hides something if there */
    uint32_t hints, first, words, candidate_count; /* are hints, from the first place on. */
    Candidate candidates[CANDIDATES_MAX];
    uint32_t longer_count; /* Beginnings that are not remembered. */
    Memory longer[BEGINNINGS_MAX];
};

static int is_escaped(const uint8_t *from, const uint8_t *quote) {
    const uint8_t *at = quote;
    while (at > from && at[-1] == '\\') at--;
    return (quote - at) & 1;
}

/* Behind the next string that ends there or later; null if there is none. `string` is where the last one began that has not ended, or null. */
static const uint8_t *next_end(const uint8_t **string, const uint8_t *at, const uint8_t *end, const uint8_t *least) {
    while (at < end && (at = memchr(at, '"', (size_t)(end - at)))) {
        if (!*string) *string = at + 1;
        else if (!is_escaped(*string, at)) {
            *string = 0;
            if (at + 1 >= least) return at + 1;
        }
        at++;
    }
    return 0;
}

/* Where to begin to read when so much is known. */
static size_t before_seam(const uint8_t *body, size_t known) {
    size_t begin = known > SEAM_BYTES ? known - SEAM_BYTES : 0;
    for (size_t at = begin; at < known; at++)
        if (body[at] == '\\' || body[at] >= 0x80) return known > LONG_SEAM_BYTES ? known - LONG_SEAM_BYTES : 0;
    return begin;
}

/* The longest beginning of a body that is remembered, and what to remember of the longer ones if they are clear. */
static void find_beginnings(const Recent *recent, const uint8_t *key, const uint8_t *body, size_t length, New *out) {
    uint32_t ends[BEGINNINGS_MAX], count = 0;
    Memory *all = out->longer;
    Digesting state = digesting(key);
    const uint8_t *at = body, *string = 0, *end = body + (length < BEGINNINGS_BYTES ? length : BEGINNINGS_BYTES);
    while (count < BEGINNINGS_MAX) {
        size_t passed = (size_t)(at - body), apart = passed / SHARE > APART ? passed / SHARE : APART;
        if (apart > (size_t)(end - at) || !(at = next_end(&string, at, end, at + apart))) break;
        ends[count] = (uint32_t)(at - body);
        all[count] = memory_up_to(&state, body, ends[count]);
        count++;
    }
    uint32_t known = count;
    while (known && !is_remembered(recent, all + known - 1)) known--;
    if (known) out->begin = (uint32_t)before_seam(body, ends[known - 1]);
    out->longer_count = count - known;
    memmove(all, all + known, out->longer_count * sizeof *all);
}

EXPORT void llmproxy_remember_beginnings(const Recent *recent, const New *clear) {
    for (uint32_t one = 0; one < clear->longer_count && one < BEGINNINGS_MAX; one++) remember(recent, clear->longer + one);
}

static void see(const Firewall *by, const uint8_t *part, size_t length, New *out) {
    uint8_t plain[GLANCE_BYTES];
    Search search;
    size_t first = 0, said = llmproxy_plain(part, length, plain);
    out->candidate_count = find_near(by->words, plain, said, by->reach, by->words_max, CANDIDATES_MAX, &search, out->candidates);
    out->hints = llmproxy_marks(by->lexicon, plain, said, &first);
    out->first = (uint32_t)first, out->words = search.spent, out->is_seen = !search.exhausted;
}

/* Whether all of a body is clear, which is then remembered under the key. */
int llmproxy_glance(const Firewall *by, const uint8_t *key, const uint8_t *body, size_t length, New *out) {
    out->begin = out->is_seen = out->longer_count = 0;
    if (length > INT32_MAX) return 0;
    if (length >= WORTH_BYTES) find_beginnings(&by->recent, key, body, length, out);
    if (length - out->begin <= GLANCE_BYTES) see(by, body + out->begin, length - out->begin, out);
    if (!out->is_seen || out->hints || out->candidate_count) return 0;
    llmproxy_remember_beginnings(&by->recent, out);
    return 1;
}
