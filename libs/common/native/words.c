/* Where all the words of a thing, in one of its forms, are near each other: one pass for the words, one over what was found.
 * A filter of a few kilobytes says of each place whether a word may begin there; only there a table is looked into. An automaton of all words
 * would be twenty megabytes, of which every byte of a text that comes to a cold cache waits for another line.
 * The tables are built by common/words.py alone, from the configuration: what they point to is in bounds. */
#include "native.h"
#include <string.h>

enum {
    HITS_MAX = 2048, /* In one call: more than one word in eight bytes of a slice is no text. */
    THINGS_MAX = 4096,
    GROUPS_MAX = 16384,
    WORD_BYTES_MAX = 16,
    OTHERS = 4, /* Groups that a form needs besides that of its key; a place that is not used says NO_GROUP. */
    NO_GROUP = 0xffff,
    BLOCK = 64,    /* Places whose filter bits are one number. */
    PAGE = 16 * BLOCK, /* Bytes of a text that are in lower case at once. */
    ALIKE_MAX = 64, /* Words that are compared before any of them is looked at. */
    FEW = 128,     /* Words found: those of a kilobyte of prose. */
    GROUPS_TOGETHER = 4, /* Lists of groups are as long as several of these. */
    BEGINS = 1,
    ENDS = 2,
};

/* One way in which a thing may be there, as offsets from the end of a key word: the other words, and the whole of it. */
typedef struct {
    uint16_t group[OTHERS];
    int16_t low[OTHERS], high[OTHERS];
    uint16_t before, behind, thing;
} Form;

typedef struct {
    uint8_t letters[WORD_BYTES_MAX]; /* Zero behind the last. */
    uint64_t mask; /* A bit for the last six of each group's number: most groups that it is not in are told by it. */
    uint32_t groups, keys; /* Where in `groups` those begin that it is in, and in `keys` the forms that it is a key of. */
    uint16_t first_count, group_count, key_count; /* Before all of its groups those that are the first of a form, GROUPS_TOGETHER or a
                                                   * multiple: the last one is repeated. */
    uint8_t length, edges; /* BEGINS, ENDS: it counts only where no letter stands before it, or behind it. */
} Word;

struct Words {
    const uint64_t *sixes, *fours, *threes; /* Bits, by the hash of the first six bytes of a place, of the first four, and of the first three. */
    const uint16_t *of_six, *of_four, *of_three, *of_two; /* [1 << SIX_HEAD_BITS | 1] and so on: where in `words` those of one hash begin: of six
                                                           * letters and more, of four and five, of three, and of two. */
    const uint64_t *beginnings; /* The first eight letters of each word, zero behind the last: nearly all that are compared are told by them. */
    const Word *words;
    const uint16_t *groups, *keys;
    const Form *forms;
    uint32_t first_count, thing_count; /* Groups that are the first of a form have the first numbers. */
};

typedef struct {
    Search search;
    Candidate candidates[];
} Found;

typedef struct {
    uint32_t at, word; /* Where its last byte is. */
} Hit;

typedef struct {
    Hit *hits; /* In order of their ends. */
    size_t count, max;
    int is_more;
} Hits;

/* -- hashes, as common/words.py computes them */

enum { SIX_BITS = 16, FOUR_BITS = 16, THREE_BITS = 15, SIX_HEAD_BITS = 13, FOUR_HEAD_BITS = 12, THREE_HEAD_BITS = 10, TWO_HEAD_BITS = 6 };

static inline uint32_t mixed(uint32_t bytes) { return bytes * 0x9E3779B1u; }
static inline uint32_t two(const uint8_t *at) { return at[0] | (uint32_t)at[1] << 8; }
static inline uint32_t four(const uint8_t *at) { return two(at) | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24; }
static inline uint32_t hash_of_six(uint32_t bytes, uint32_t others) { return mixed(bytes ^ mixed(others)); }
static inline uint32_t hash_of_four(uint32_t bytes) { return mixed(bytes); }
static inline uint32_t hash_of_three(uint32_t of_four) { return of_four << 8; } /* Of the letters alone: what is shifted out is a product of the fourth. */
static inline uint32_t hash_of_two(uint32_t of_four) { return of_four << 16; }
static inline uint64_t bit_of(const uint64_t *bits, uint32_t hash, int width) { return bits[hash >> (38 - width)] >> (hash >> (32 - width) & 63) & 1; }

/* -- the words of a text */

static inline int is_word(uint8_t one) { return is_letter(one) || is_digit(one) || one == '_'; }

static inline uint64_t eight(const uint8_t *at) {
    uint64_t bytes;
    memcpy(&bytes, at, sizeof bytes);
    return bytes;
}

/* Whether eight bytes, the first of them the lowest, begin with as many letters as are not zero. */
static inline int begins_with(uint64_t bytes, uint64_t letters) { return !((bytes ^ letters) << (__builtin_clzll(letters) & 56)); }

static inline int goes_on_with(const uint8_t *text, const Word *word) {
    return word->length <= sizeof(uint64_t) || begins_with(eight(text + sizeof(uint64_t)), eight(word->letters + sizeof(uint64_t)));
}

/* Longer words end later, and those that begin later may end before them. */
static void put(Hits *into, Hit hit) {
    size_t place = into->count;
    if (place == into->max) {
        into->is_more = 1;
        if (!place || into->hits[place - 1].at <= hit.at) return;
        place--;
    } else into->count++;
    for (; place && into->hits[place - 1].at > hit.at; place--) into->hits[place] = into->hits[place - 1];
    into->hits[place] = hit;
}

static int is_beside_letters(int edges, const uint8_t *text, size_t begin, size_t end, size_t length) {
    return (edges & ENDS && end < length && is_word(text[end])) || (edges & BEGINS && begin && is_word(text[begin - 1]));
}

/* Words of one hash, and a place where some of them may begin. */
typedef struct {
    uint32_t from, to, at;
} Range;

/* A word that begins like what stands at a place. */
typedef struct {
    uint32_t word, at;
} Alike;

/* `here` is in lower case and has zeros behind the end; it stands at `begin` in the text. */
static void look_at(const Words *words, const Alike *alike, uint32_t count, const uint8_t *here, const uint8_t *text, size_t begin, size_t length,
                    Hits *into) {
    for (uint32_t one = 0; one < count; one++) {
        const Word *word = words->words + alike[one].word;
        size_t from = begin + alike[one].at, end = from + word->length;
        if (end > length || !goes_on_with(here + alike[one].at, word)) continue;
        if (word->edges && is_beside_letters(word->edges, text, from, end, length)) continue;
        __builtin_prefetch(words->groups + word->groups);
        put(into, (Hit){(uint32_t)(end - 1), alike[one].word});
    }
}

static inline uint32_t add_range(const Words *words, const uint16_t *heads, uint32_t hash, int width, uint32_t at, Range *into) {
    const uint16_t *head = heads + (hash >> (32 - width));
    *into = (Range){head[0], head[1], at};
    __builtin_prefetch(words->beginnings + head[0]);
    return head[0] < head[1];
}

/* Of each place of a block whether a word of more than three letters may begin there, and a shorter one. */
typedef struct {
    uint64_t longs, shorts;
} Places;

static Places may_begin(const Words *words, const uint8_t *here) {
    Places found = {0, 0};
    for (int at = BLOCK; at--;) {
        uint32_t hash = hash_of_four(four(here + at));
        found.longs = found.longs << 1 | bit_of(words->fours, hash, FOUR_BITS);
        found.shorts = found.shorts << 1 | bit_of(words->threes, hash_of_three(hash), THREE_BITS);
    }
    return found;
}

/* The words that begin in a block: first where they are, so that the memory of all is on its way before any is compared. */
static void words_in(const Words *words, Places places, const uint8_t *here, const uint8_t *text, size_t begin, size_t length, Hits *into) {
    Range ranges[4 * BLOCK + 1];
    Alike alike[ALIKE_MAX];
    uint32_t count = 0, alikes = 0;
    for (uint64_t left = places.longs | places.shorts; left; left &= left - 1) {
        uint32_t at = (uint32_t)__builtin_ctzll(left), bytes = four(here + at), hash = hash_of_four(bytes);
        if (places.shorts >> at & 1) {
            count += add_range(words, words->of_three, hash_of_three(hash), THREE_HEAD_BITS, at, ranges + count);
            count += add_range(words, words->of_two, hash_of_two(hash), TWO_HEAD_BITS, at, ranges + count);
        }
        if (places.longs >> at & 1) {
            uint32_t six = hash_of_six(bytes, two(here + at + 4));
            count += add_range(words, words->of_four, hash, FOUR_HEAD_BITS, at, ranges + count);
            if (bit_of(words->sixes, six, SIX_BITS)) count += add_range(words, words->of_six, six, SIX_HEAD_BITS, at, ranges + count);
        }
    }
    const uint64_t *beginnings = words->beginnings;
    for (uint32_t one = 0; one < count; one++) {
        Range range = ranges[one];
        uint64_t bytes = eight(here + range.at);
        for (uint32_t word = range.from; word < range.to; word++) {
            if (alikes == ALIKE_MAX) look_at(words, alike, alikes, here, text, begin, length, into), alikes = 0;
            alike[alikes] = (Alike){word, range.at}; /* Without a branch, which nobody could foretell. */
            alikes += (uint32_t)begins_with(bytes, beginnings[word]);
        }
    }
    look_at(words, alike, alikes, here, text, begin, length, into);
}

/* The first words of a text by where they end, at most `max`. */
static void find_words(const Words *words, const uint8_t *text, size_t length, Hits *into) {
    uint8_t page[PAGE + WORD_BYTES_MAX];
    for (size_t begin = 0; begin < length; begin += PAGE) {
        size_t left = length - begin, held = left < sizeof page ? left : sizeof page;
        size_t places = left < PAGE ? left : PAGE;
        lowered(page, text + begin, held);
        memset(page + held, 0, sizeof page - held);
        for (size_t block = 0; block < places; block += BLOCK) {
            if (into->is_more && (!into->max || into->hits[into->max - 1].at < begin + block)) return; /* What begins here ends later. */
            Places found = may_begin(words, page + block);
            if (places - block < BLOCK) {
                uint64_t held = (1ull << (places - block)) - 1;
                found.longs &= held, found.shorts &= held;
            }
            words_in(words, found, page + block, text, begin + block, length, into);
        }
    }
}

/* -- the things whose words are there */

/* Groups of a word are in order of their numbers. */
static int is_of(const Words *words, const Word *word, uint32_t group) {
    const uint16_t *first = words->groups + word->groups + word->first_count;
    uint32_t left = word->group_count;
    if (!(word->mask >> (group & 63) & 1)) return 0;
    while (left > 1) {
        uint32_t half = left / 2;
        if (first[half] <= group) first += half;
        left -= half;
    }
    return left && *first == group;
}

/* Whether a word of a group ends between `low` and `high`: from the key at `at` on in both directions, as most are close to it. */
static int is_there(const Words *words, const Hit *found, size_t from, size_t at, size_t to, int64_t low, int64_t high, uint32_t group) {
    for (size_t one = at; one < to && found[one].at <= high; one++)
        if (found[one].at >= low && is_of(words, words->words + found[one].word, group)) return 1;
    for (size_t one = at; one-- > from && found[one].at >= low;)
        if (found[one].at <= high && is_of(words, words->words + found[one].word, group)) return 1;
    return 0;
}

/* `latest` is one more than where the last word within reach ends of each group that is the first of a form: it is the rarest, and most forms
 * lack it. */
static int all_there(const Words *words, const Hit *found, size_t from, size_t at, size_t to, const Form *form, const uint32_t *latest) {
    int64_t key_end = found[at].at;
    if (form->group[0] == NO_GROUP) return 1;
    uint32_t last = latest[form->group[0]];
    if (!last || last <= key_end + form->low[0]) return 0;
    for (int other = 0; other < OTHERS && form->group[other] != NO_GROUP; other++)
        if (!is_there(words, found, from, at, to, key_end + form->low[other], key_end + form->high[other], form->group[other])) return 0;
    return 1;
}

/* What will be asked of what was found: all of it, or of few words, which leave most of it alone, only that. */
static void clear(const Words *words, const Hits *hits, uint32_t *latest, uint16_t *last) {
    if (hits->count > FEW) {
        memset(latest, 0, sizeof *latest * words->first_count);
        memset(last, 0, sizeof *last * words->thing_count);
        return;
    }
    for (size_t at = 0; at < hits->count; at++) {
        const Word *word = words->words + hits->hits[at].word;
        for (uint32_t one = word->keys; one < word->keys + word->key_count; one++) {
            const Form *form = words->forms + words->keys[one];
            if (form->group[0] != NO_GROUP) latest[form->group[0]] = 0;
            last[form->thing] = 0;
        }
    }
}

static uint32_t minus(uint32_t one, uint32_t other) { return one > other ? one - other : 0; }

/* The things that have a form whose words are where they must be, with the part of the text to look at; parts of one thing that touch are one.
 * Returns how many, at most `max`, for which `candidates` has room. No word of a thing is further than `reach` from its key. */
uint32_t find_near(const Words *words, const uint8_t *text, size_t length, uint32_t reach, uint32_t words_max, uint32_t max, Search *search,
                   Candidate *candidates) {
    Hit found[HITS_MAX];
    uint32_t latest[GROUPS_MAX]; /* Of first groups. */
    uint16_t last[THINGS_MAX]; /* One more than the place of a thing's last candidate. */
    uint32_t made = 0;
    search->spent = search->exhausted = 0;
    if (length > INT32_MAX || reach > INT16_MAX || words->first_count > GROUPS_MAX || words->thing_count > THINGS_MAX || max >= UINT16_MAX) {
        search->exhausted = 1;
        return 0;
    }
    Hits hits = {.hits = found, .max = words_max < HITS_MAX ? words_max : HITS_MAX};
    find_words(words, text, length, &hits);
    search->exhausted = hits.is_more != 0;
    search->spent = (uint32_t)hits.count;
    if (!hits.count) return 0;
    clear(words, &hits, latest, last);
    for (size_t at = 0, from = 0, to = 0; at < hits.count; at++) {
        uint32_t end = found[at].at;
        const Word *word = words->words + found[at].word;
        if (!word->key_count) continue;
        for (; to < hits.count && found[to].at <= end + reach; to++) {
            const Word *near = words->words + found[to].word;
            const uint16_t *group = words->groups + near->groups;
            for (uint32_t left = near->first_count; left; left -= GROUPS_TOGETHER)
                for (uint32_t one = 0; one < GROUPS_TOGETHER; one++) latest[*group++] = found[to].at + 1;
        }
        while (found[from].at + reach < end) from++;
        for (uint32_t one = word->keys; one < word->keys + word->key_count; one++) {
            const Form *form = words->forms + words->keys[one];
            if (!all_there(words, found, from, at, to, form, latest)) continue;
            uint32_t start = minus(end, form->before), stop = end + form->behind;
            if (stop > length) stop = (uint32_t)length;
            uint32_t before = last[form->thing];
            if (before && candidates[before - 1].end >= start) {
                Candidate *touched = candidates + before - 1;
                if (start < touched->start) touched->start = start;
                if (stop > touched->end) touched->end = stop;
                continue;
            }
            if (made == max) {
                search->exhausted = 1;
                return made;
            }
            candidates[made] = (Candidate){form->thing, start, stop};
            last[form->thing] = (uint16_t)++made;
        }
    }
    return made;
}

EXPORT uint32_t llmproxy_words_near(const Words *words, const uint8_t *text, size_t length, uint32_t reach, uint32_t words_max,
                                    uint32_t max, Found *out) {
    return find_near(words, text, length, reach, words_max, max, &out->search, out->candidates);
}
