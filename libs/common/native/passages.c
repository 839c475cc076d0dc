/* Whether a text may say a passage of another one: so many words in a row that the other has, too, in whatever order. */
#include "native.h"

enum { WORD_MAX = 64 }; /* As answers.leak: what is longer is more than one word. */

struct Vocabulary {
    uint8_t *bits; /* [(mask + 1) / 8]: one is set for the hash of each word. */
    uint32_t mask;
    uint32_t least; /* So many words are a passage. */
};

/* Letters, digits and the underscore. Of 32 characters each, a bit. */
static const uint32_t IN_WORDS[8] = {0, 0x03FF0000, 0x87FFFFFE, 0x07FFFFFE};

static inline int is_in_word(uint8_t one) { return IN_WORDS[one >> 5] >> (one & 31) & 1; }

/* Behind the word that begins at `at`. Capitals and small letters have the same hash. */
static size_t word_end(const uint8_t *text, size_t length, size_t at, uint32_t *hash) {
    uint32_t all = 2166136261u;
    for (; at < length && is_in_word(text[at]); at++) all = (all ^ (text[at] | 0x20)) * 16777619u;
    *hash = all ^ all >> 16;
    return at;
}

/* Adds the words of a text to a vocabulary. */
EXPORT void llmproxy_learn_words(const Vocabulary *into, const uint8_t *text, size_t length) {
    uint32_t hash;
    for (size_t at = 0; at < length; at++) {
        if (!is_in_word(text[at])) continue;
        at = word_end(text, length, at, &hash);
        into->bits[(hash & into->mask) >> 3] |= (uint8_t)(1 << (hash & 7));
    }
}

/* Of a text in ASCII: 0 where no passage of it has only words of the vocabulary, 1 where one may. Of any other text 0 or 1. */
EXPORT int llmproxy_may_say(const Vocabulary *of, const uint8_t *text, size_t length) {
    uint32_t hash, run = 0;
    for (size_t at = 0; at < length; at++) {
        if (!is_in_word(text[at])) continue;
        size_t first = at;
        at = word_end(text, length, at, &hash);
        if (at - first > WORD_MAX) return 1;
        run = of->bits[(hash & of->mask) >> 3] >> (hash & 7) & 1 ? run + 1 : 0;
        if (run >= of->least) return 1;
    }
    return 0;
}
