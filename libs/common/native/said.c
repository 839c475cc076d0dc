/* Whether a long text says a value, asked of it again and again: what a value is made of is known, and of most of that a place, so hardly
 * ever has the text itself to be searched. Texts and values are UTF-8. */
#include "native.h"
#include <string.h>

enum { GRAM = 6 }; /* Bytes from the beginning of a character on. */

struct Grams {
    uint8_t *bits;    /* [(bits_mask + 1) / 8]: one is set for the hash of each. */
    uint32_t *places; /* [places_mask + 1]: where one with this hash stands. */
    uint32_t bits_mask, places_mask;
};

static inline uint64_t with(uint64_t gram, uint8_t byte) { return (gram << 8 | byte) & 0xFFFFFFFFFFFF; }
static inline uint32_t hash_of(uint64_t gram) { return (uint32_t)(gram * 0x9E3779B97F4A7C15u >> 32); }
static inline int begins(uint8_t byte) { return (byte & 0xC0) != 0x80; }

EXPORT void llmproxy_learn_said(const Grams *into, const uint8_t *text, size_t length) {
    uint64_t gram = 0;
    for (size_t at = 0; at < length; at++) {
        gram = with(gram, text[at]);
        if (at + 1 < GRAM || !begins(text[at + 1 - GRAM])) continue;
        uint32_t hash = hash_of(gram);
        into->bits[(hash & into->bits_mask) >> 3] |= (uint8_t)(1 << (hash & 7));
        into->places[hash >> 4 & into->places_mask] = (uint32_t)(at + 1 - GRAM);
    }
}

/* 0 where the text that was learnt does not say the value, 1 where it does, 2 where only a search can tell. */
EXPORT int llmproxy_says(const Grams *of, const uint8_t *text, size_t length, const uint8_t *value, size_t size) {
    uint64_t gram = 0;
    for (size_t at = 0; at < size; at++) {
        gram = with(gram, value[at]);
        if (at + 1 < GRAM || !begins(value[at + 1 - GRAM])) continue;
        uint32_t hash = hash_of(gram);
        if (!(of->bits[(hash & of->bits_mask) >> 3] >> (hash & 7) & 1)) return 0;
        size_t before = at + 1 - GRAM, place = of->places[hash >> 4 & of->places_mask];
        if (place >= before && size <= length && place - before <= length - size && !memcmp(text + place - before, value, size)) return 1;
    }
    return 2;
}
