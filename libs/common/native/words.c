/* Where all the words of a thing are near each other: one pass for the words (Aho-Corasick, as a full table), one over what was found.
 * The table is built by common/words.py alone, from the configuration: what it points to is in bounds. */
#include "native.h"
#include <string.h>

enum {
    HITS_MAX = 2048, /* In one call: more than one word in eight bytes of a slice is no text. */
    THINGS_MAX = 4096,
    GROUPS_MAX = 4096,
    WORD_BYTES_MAX = 16,
    OTHERS = 4, /* Groups that a thing needs besides that of its key; a place that is not used says NO_GROUP. */
    NO_GROUP = 0xffff,
};

/* Where a thing is, as offsets from the end of its key word: the other words, and the whole of it. */
typedef struct {
    uint16_t group[OTHERS];
    int16_t low[OTHERS], high[OTHERS];
    uint16_t before, behind;
} Thing;

typedef struct {
    const uint8_t *classes;  /* Of 256 bytes. Upper-case ASCII is of the class of lower-case. */
    const uint32_t *next;    /* [states][stride]: where the row of the state after a byte of a class begins. */
    const uint32_t *outputs; /* [states + 1]: where a state's words begin in `ended`. Rows below `telling` have none. */
    const uint32_t *ended;   /* The word in the low half; in the high half a length, if it must stand alone. */
    const uint64_t *masks;   /* [words][(groups + 63) / 64]: the groups that a word is in, a bit for each, */
    const uint32_t *grouped; /* [words + 1]: and where they begin in `groups`. */
    const uint32_t *groups;
    const uint32_t *keyed;   /* [words + 1]: where the things begin in `keys` whose key a word is. */
    const uint32_t *keys;
    const Thing *things;
    uint32_t stride, telling, group_count, thing_count;
} Words;

typedef struct {
    uint32_t thing, start, end;
} Candidate;

typedef struct {
    uint32_t spent;     /* Words seen. */
    uint32_t exhausted; /* Whether there was more than was looked at. */
    Candidate candidates[];
} Found;

typedef struct {
    uint32_t at, word;
} Hit;

static int is_word(uint8_t one) { return is_letter(one) || is_digit(one) || one == '_'; }

static int stands_alone(const uint8_t *text, size_t length, size_t last, size_t letters) {
    if (last + 1 < length && is_word(text[last + 1])) return 0;
    return last + 1 <= letters || !is_word(text[last - letters]);
}

typedef struct {
    Hit *hits;
    size_t count, max;
} Hits; /* `count` may be one more than `max`: then there were more. */

static void add(Hits *into, const Words *words, const uint8_t *text, size_t length, size_t at, uint32_t row) {
    uint32_t state = row / words->stride;
    for (uint32_t one = words->outputs[state]; one < words->outputs[state + 1] && into->count <= into->max; one++) {
        uint32_t word = words->ended[one] & 0xffff, letters = words->ended[one] >> 16;
        if (letters && !stands_alone(text, length, at, letters)) continue;
        if (into->count < into->max) into->hits[into->count] = (Hit){(uint32_t)at, word};
        into->count++;
    }
}

/* The words that end in a text, in order. Both halves are gone through at once, because each step waits for the one before it; the second
 * begins a word's length early. Returns how many, or one more than `max`. */
static size_t hits(const Words *words, const uint8_t *text, size_t length, Hit *found, size_t max) {
    Hit second_found[HITS_MAX];
    Hits first = {found, 0, max}, second = {second_found, 0, max};
    size_t early = WORD_BYTES_MAX, middle = (length + early) / 2, from = middle - early;
    if (length < 4 * early) middle = from = length; /* Not worth it. */
    uint32_t row = 0, other = 0;
    for (size_t at = 0; at < middle; at++) {
        row = words->next[row + words->classes[text[at]]];
        if (row >= words->telling) add(&first, words, text, length, at, row);
        if (from + at >= length) continue;
        other = words->next[other + words->classes[text[from + at]]];
        if (other >= words->telling && at >= early) add(&second, words, text, length, from + at, other);
    }
    for (size_t at = from + middle; at < length; at++) { /* One byte, if any. */
        other = words->next[other + words->classes[text[at]]];
        if (other >= words->telling) add(&second, words, text, length, at, other);
    }
    if (first.count > max || first.count + second.count > max) {
        if (first.count < max) memcpy(found + first.count, second_found, (max - first.count) * sizeof *found);
        return max + 1;
    }
    memcpy(found + first.count, second_found, second.count * sizeof *found);
    return first.count + second.count;
}

static int is_of(const Words *words, uint32_t word, uint32_t group) {
    return words->masks[(size_t)word * ((words->group_count + 63) / 64) + (group >> 6)] >> (group & 63) & 1;
}

/* Whether a word of a group ends between `low` and `high` behind the key. */
static int is_there(const Words *words, const Hit *found, size_t from, size_t to, uint32_t key_end, int32_t low, int32_t high,
                    uint32_t group) {
    for (size_t at = from; at < to; at++) {
        int32_t offset = (int32_t)found[at].at - (int32_t)key_end;
        if (offset > high) return 0;
        if (offset >= low && is_of(words, found[at].word, group)) return 1;
    }
    return 0;
}

static int all_there(const Words *words, const Hit *found, size_t from, size_t to, uint32_t key_end, const Thing *thing,
                     const uint16_t *near) {
    for (int other = 0; other < OTHERS && thing->group[other] != NO_GROUP; other++)
        if (!near[thing->group[other]]) return 0;
    for (int other = 0; other < OTHERS && thing->group[other] != NO_GROUP; other++)
        if (!is_there(words, found, from, to, key_end, thing->low[other], thing->high[other], thing->group[other])) return 0;
    return 1;
}

static void count_groups(const Words *words, uint32_t word, uint16_t *near, int by) {
    for (uint32_t one = words->grouped[word]; one < words->grouped[word + 1]; one++) near[words->groups[one]] += (uint16_t)by;
}

static uint32_t minus(uint32_t one, uint32_t other) { return one > other ? one - other : 0; }

/* The things whose words are where they must be, with the part of the text to look at; parts of one thing that touch are one.
 * Returns how many, at most `max`, for which `out` has room. No word of a thing is further than `reach` from its key. */
EXPORT uint32_t llmproxy_words_near(const Words *words, const uint8_t *text, size_t length, uint32_t reach, uint32_t words_max,
                                    uint32_t max, Found *out) {
    Hit found[HITS_MAX];
    uint16_t near[GROUPS_MAX]; /* How many words of each group are within reach. */
    uint16_t latest[THINGS_MAX]; /* One more than the place of a thing's last candidate. */
    Candidate *candidates = out->candidates;
    size_t limit = words_max < HITS_MAX ? words_max : HITS_MAX;
    uint32_t made = 0;
    out->spent = out->exhausted = 0;
    if (length > INT32_MAX || reach > INT16_MAX || words->group_count > GROUPS_MAX || words->thing_count > THINGS_MAX || max >= UINT16_MAX) {
        out->exhausted = 1;
        return 0;
    }
    size_t count = hits(words, text, length, found, limit);
    if (count > limit) out->exhausted = 1, count = limit;
    out->spent = (uint32_t)count;
    if (!count) return 0;
    memset(near, 0, sizeof *near * words->group_count);
    memset(latest, 0, sizeof *latest * words->thing_count);
    for (size_t at = 0, from = 0, to = 0; at < count; at++) {
        uint32_t end = found[at].at, word = found[at].word;
        while (to < count && found[to].at <= end + reach) count_groups(words, found[to++].word, near, 1);
        while (found[from].at + reach < end) count_groups(words, found[from++].word, near, -1);
        for (uint32_t one = words->keyed[word]; one < words->keyed[word + 1]; one++) {
            uint32_t index = words->keys[one];
            const Thing *thing = words->things + index;
            if (!all_there(words, found, from, to, end, thing, near)) continue;
            uint32_t start = minus(end, thing->before), stop = end + thing->behind;
            if (stop > length) stop = (uint32_t)length;
            if (latest[index] && candidates[latest[index] - 1].end >= start) {
                if (stop > candidates[latest[index] - 1].end) candidates[latest[index] - 1].end = stop;
                continue;
            }
            if (made == max) {
                out->exhausted = 1;
                return made;
            }
            candidates[made] = (Candidate){index, start, stop};
            latest[index] = (uint16_t)++made;
        }
    }
    return made;
}
