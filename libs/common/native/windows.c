/* How suspicious the windows of a text are, and all of it, by linear models over its words, what they mean, and how they stand together.
 * A text is read once, token by token; a block of tokens becomes a set of feature numbers, and a window is two neighbouring blocks. The text is
 * UTF-8 in lower case without accents (llmproxy.shield.injection.features.fold); other bytes are read as they come. */
#include "native.h"
#include <string.h>

enum {
    BLOCK_TOKENS = 20, /* Half a window: an injected sentence is seldom longer than a window of two. */
    NEAR_TOKENS = 6,   /* Words further apart than this are not about each other. */
    NEAR_MAX = 4,      /* Nor are those with more words of meaning between them. */
    TERM_CHARS_MAX = 8, /* Of scripts that do not part their words. */
    STEM_CHARS_MIN = 2,
    STEM_CHARS_MAX = 16,
    WORD_BYTES_MAX = 24, /* Of a longer word the beginning is read: it is a token or a blob. */
    PART_CHARS = 5,      /* A word's beginning, which its inflections share. */
    MEANINGS = 32,
    COUNT_MIN = 40,      /* A window with fewer features says less than their sum over the root of their number. */
    NUMBERS_MAX = 512, /* Of one block, without repetitions; what is beyond is not read. */
    TABLE = 1024,
};
#define HASHED (1u << 18)                /* Features that have no number of their own, by hash; */
#define BARE HASHED                      /* then a meaning, */
#define PAIRS (BARE + MEANINGS)          /* two in one sentence, in this order, */
#define FIRST (PAIRS + MEANINGS * MEANINGS)        /* one that begins a sentence, */
#define FIRSTS (FIRST + MEANINGS)                  /* two that begin neighbouring sentences, */
#define TRIPLES (FIRSTS + MEANINGS * MEANINGS)     /* and three in one. */
#define FEATURES (TRIPLES + MEANINGS * MEANINGS * MEANINGS)
#define NUMBERS (1u << 19) /* Enough for all features; */
#define BLOCKS (1u << 13)  /* with the number of a block they fill 32 bits. */
_Static_assert(FEATURES <= NUMBERS, "a feature has no number");

typedef struct {
    uint64_t key; /* Of a word, or of the beginning of words; 0: nothing. */
    uint32_t meanings;
    uint32_t family; /* Of words that are used alike; 0: none. */
} Entry;

struct Model {
    const Entry *entries; /* [mask + 1], by open addressing; at least one is empty. */
    const uint8_t *filter; /* [8192]: a bit for the low bits of each key. */
    const int16_t (*weights)[2]; /* [FEATURES]: of a feature in a window, and in a text. */
    const uint8_t *tags; /* [mask + 1][2]: the first byte of each key, which is 0 where there is none, and its last. */
    uint32_t mask;
};

typedef struct {
    uint32_t number, part, meanings, family;
    uint32_t start, end;
    uint8_t is_end; /* Of a sentence. */
} Token;

typedef struct {
    uint32_t *numbers;
    const int16_t (*weights)[2]; /* That are wanted soon. */
    uint32_t count, block;
    uint32_t seen[TABLE]; /* Numbers and in which block they are, by open addressing; what is of another block is empty. */
} Set;

static inline uint64_t begun(uint64_t seed) { return seed ^ 0xcbf29ce484222325ull; }
static inline uint64_t with(uint64_t hash, uint8_t byte) { return (hash ^ byte) * 0x100000001b3ull; }
static inline uint64_t ended(uint64_t hash) {
    hash ^= hash >> 32, hash *= 0x9e3779b97f4a7c15ull, hash ^= hash >> 29;
    return hash | 1;
}
static uint64_t hashed(const uint8_t *text, size_t length, uint64_t seed) {
    uint64_t hash = begun(seed);
    for (size_t i = 0; i < length; i++) hash = with(hash, text[i]);
    return ended(hash);
}
static inline uint32_t numbered(uint64_t hash) { return (uint32_t)(hash >> 16); }
static inline uint32_t mixed(uint32_t one, uint32_t other) {
    uint64_t both = ((uint64_t)one << 32 | other) * 0x9e3779b97f4a7c15ull;
    both ^= both >> 31, both *= 0xd6e8feb86659fd93ull;
    return (uint32_t)(both >> 32) & (HASHED - 1);
}

enum { WORD = 0, STEM = 5, NUMBERED = 1, PARTED = 2 }; /* Seeds. */

static inline int may_be_known(const Model *model, uint64_t key) { return model->filter[(key >> 4 & 0xffff) >> 3] >> (key >> 4 & 7) & 1; }

/* The tags are small enough to be near; entries are seldom, and nearly all that are read are those that are looked for. */
static const Entry *looked_up(const Model *model, uint64_t key) {
    for (uint32_t at = (uint32_t)(key >> 20) & model->mask; model->tags[2 * at]; at = (at + 1) & model->mask)
        if (model->tags[2 * at + 1] == key >> 56 && model->entries[at].key == key) return &model->entries[at];
    return 0;
}

static const Entry *known(const Model *model, uint64_t key) { return may_be_known(model, key) ? looked_up(model, key) : 0; }

/* -- characters */

static size_t width_at(const uint8_t *text, size_t length, size_t at) {
    size_t width = text[at] < 0xc0 ? 1 : text[at] < 0xe0 ? 2 : text[at] < 0xf0 ? 3 : 4;
    return at + width <= length ? width : 1;
}
static uint32_t character_at(const uint8_t *text, size_t at, size_t width) {
    const uint8_t *one = text + at;
    if (width == 2) return (uint32_t)(one[0] & 31) << 6 | (one[1] & 63);
    if (width == 3) return (uint32_t)(one[0] & 15) << 12 | (uint32_t)(one[1] & 63) << 6 | (one[2] & 63);
    if (width == 4) return (uint32_t)(one[0] & 7) << 18 | (uint32_t)(one[1] & 63) << 12 | (uint32_t)(one[2] & 63) << 6 | (one[3] & 63);
    return one[0];
}
/* Thai, Lao, kana and Chinese characters: spaces do not part their words. */
static int is_joined(uint32_t one) { return (one >= 0xe00 && one <= 0xeff) || (one >= 0x3040 && one <= 0x30ff) || (one >= 0x3400 && one <= 0x9fff); }
static int is_end(uint32_t one) {
    return one == '.' || one == '?' || one == '!' || one == ':' || one == ';' || one == '\n' || one == 0x3002 || one == 0xff01 || one == 0xff1f ||
           one == 0xff1a || one == 0xff1b || one == 0x61f || one == 0x61b || one == 0x6d4 || one == 0x964 || one == 0x965;
}
static int is_wordy(uint32_t one) {
    if (one < 0x80) return (uint32_t)(one - 'a') < 26 || (uint32_t)(one - '0') < 10 || one == '_';
    if (one < 0xc0) return one == 0xaa || one == 0xb5 || one == 0xba;
    if (one == 0xd7 || one == 0xf7 || one == 0x60c || is_end(one) || is_joined(one)) return 0;
    if ((one >= 0x2000 && one <= 0x2bff) || (one >= 0x3000 && one <= 0x303f) || (one >= 0xe000 && one <= 0xf8ff)) return 0;
    if ((one >= 0xfe00 && one <= 0xfe6f) || (one >= 0xff00 && one <= 0xff0f) || (one >= 0xff1a && one <= 0xff20)) return 0;
    return !((one >= 0xff3b && one <= 0xff40) || (one >= 0xff5b && one <= 0xff65) || (one >= 0x1f000 && one <= 0x1faff));
}

/* -- tokens */

/* The length of `<name>` or `[name]` (with a slash or without) that begins at `at`; 0 if none does. */
static size_t tag_at(const uint8_t *text, size_t length, size_t at, uint8_t closing, size_t letters_min) {
    size_t i = at + 1;
    if (i < length && text[i] == '/') i++;
    size_t name = i;
    while (i < length && i - name < 13 && (is_letter(text[i]) || text[i] == '_')) i++;
    return i - name >= letters_min && i - name <= 12 && i < length && text[i] == closing ? i + 1 - at : 0;
}
/* The length of the markup that begins at `at`: tags, template marks, rules, and what parts the fields of a document. */
static size_t markup_at(const uint8_t *text, size_t length, size_t at) {
    uint8_t one = text[at], next = at + 1 < length ? text[at + 1] : 0, third = at + 2 < length ? text[at + 2] : 0;
    size_t tag;
    switch (one) {
    case '<':
        if ((tag = tag_at(text, length, at, '>', 2))) return tag;
        if (next == '|' || next == '/' || next == '<') return 2;
        return next == '!' && third == '-' && at + 3 < length && text[at + 3] == '-' ? 4 : 0;
    case '|': return next == '>' ? 2 : 0;
    case '[': return tag_at(text, length, at, ']', 3);
    case ':': return next == '/' && third == '/' ? 3 : 0;
    case '#': case '=': case '-': return next == one && third == one ? 3 : 0;
    case '@': case '{': case '}': case '"': return 1;
    default: return 0;
    }
}

/* The longest term of the lexicon that begins here, or one character. */
static void read_joined(const Model *model, const uint8_t *text, size_t length, size_t at, Token *token) {
    uint64_t word = begun(WORD), stem = begun(STEM);
    size_t end = at;
    token->end = (uint32_t)(at + width_at(text, length, at));
    for (int characters = 0; characters < TERM_CHARS_MAX && end < length; characters++) {
        size_t width = width_at(text, length, end);
        if (!is_joined(character_at(text, end, width))) break;
        for (size_t stop = end + width; end < stop; end++) word = with(word, text[end]), stem = with(stem, text[end]);
        const Entry *exact = known(model, ended(word)), *begin = known(model, ended(stem));
        uint32_t meanings = (exact ? exact->meanings : 0) | (begin ? begin->meanings : 0);
        if (meanings) token->meanings = meanings, token->end = (uint32_t)end;
    }
    token->number = token->part = numbered(hashed(text + at, token->end - at, NUMBERED));
}

enum { SKIPPED, WORDY, SIGN, BEYOND };

/* What a byte is where a token may begin. */
static const uint8_t KIND[256] = {
    ['a' ... 'z'] = WORDY, ['0' ... '9'] = WORDY, ['_'] = WORDY, [0x80 ... 0xff] = BEYOND,
    ['<'] = SIGN, ['|'] = SIGN, ['['] = SIGN, [':'] = SIGN, ['#'] = SIGN, ['='] = SIGN, ['-'] = SIGN, ['@'] = SIGN, ['{'] = SIGN, ['}'] = SIGN,
    ['"'] = SIGN, ['.'] = SIGN, ['?'] = SIGN, ['!'] = SIGN, [';'] = SIGN, ['\n'] = SIGN,
};

/* A word so far, and the keys by which it is known. */
typedef struct {
    uint64_t whole, stem, number, part; /* Hashes under way: of all of it twice, of its first bytes, and of its first characters. */
    uint64_t stems[2 * STEM_CHARS_MAX]; /* Keys of its beginnings that may be known, the longest last. With an apostrophe
                                         * behind each character; one place more is written to than is counted. */
    uint32_t stem_count;
    size_t bytes, characters;
    int is_number;
} Spelling;

static inline void spell(Spelling *word, uint8_t byte, int is_first_part) {
    word->whole = with(word->whole, byte), word->stem = with(word->stem, byte);
    if (word->bytes < WORD_BYTES_MAX) word->number = with(word->number, byte);
    if (is_first_part) word->part = with(word->part, byte);
    word->bytes++;
}

static inline void end_character(Spelling *word, const Model *model) {
    if (word->characters < STEM_CHARS_MIN || word->characters > STEM_CHARS_MAX) return;
    uint64_t key = ended(word->stem);
    word->stems[word->stem_count] = key; /* Without a branch: one in three may be. */
    word->stem_count += (uint32_t)may_be_known(model, key);
}

/* What is not ASCII, or no letter: whether it belongs to the word. */
static int read_other(const Model *model, const uint8_t *text, size_t length, size_t end, Spelling *word) {
    size_t width = width_at(text, length, end);
    uint32_t one = character_at(text, end, width);
    int is_part = word->characters < PART_CHARS;
    if (!is_wordy(one)) {
        /* An apostrophe inside a word belongs to it. */
        size_t after = end + width;
        if ((one != '\'' && one != 0x2019) || !word->characters || after >= length || text[after] < 'a') return 0;
        if (!is_wordy(character_at(text, after, width_at(text, length, after)))) return 0;
    } else {
        word->is_number &= one - '0' < 10u; /* As bytes that are no UTF-8 may say. */
        word->characters++;
    }
    for (size_t at = 0; at < width; at++) spell(word, text[end + at], is_part);
    end_character(word, model);
    return (int)width;
}

static void read_word(const Model *model, const uint8_t *text, size_t length, size_t at, Token *token) {
    Spelling word; /* Not all of it: a list that is empty needs no zeros. */
    word.whole = begun(WORD), word.stem = begun(STEM), word.number = begun(NUMBERED), word.part = begun(PARTED);
    word.bytes = word.characters = word.stem_count = 0, word.is_number = 1;
    size_t end = at;
    for (int width; end < length; end += (size_t)width) {
        uint8_t one = text[end];
        if (KIND[one] == WORDY) {
            word.is_number &= is_digit(one);
            spell(&word, one, word.characters++ < PART_CHARS);
            end_character(&word, model);
            width = 1;
        } else if (!(width = read_other(model, text, length, end, &word))) break;
    }
    token->end = (uint32_t)end;
    if (word.is_number) {
        token->number = token->part = numbered(hashed((const uint8_t *)"0", 1, NUMBERED));
        return;
    }
    token->number = numbered(ended(word.number));
    token->part = numbered(ended(word.part));
    const Entry *exact = known(model, ended(word.whole));
    token->family = exact ? exact->family : 0;
    token->meanings = exact ? exact->meanings : 0;
    for (const Entry *begin = 0; !token->meanings && !begin && word.stem_count;) {
        begin = looked_up(model, word.stems[--word.stem_count]); /* The longest that is known. */
        if (begin) token->meanings = begin->meanings;
    }
}

/* The token at or after `at`; where the next one is looked for, or 0 when there is none. */
static size_t next_token(const Model *model, const uint8_t *text, size_t length, size_t at, Token *token) {
    for (;;) {
        while (at < length && KIND[text[at]] == SKIPPED) at++;
        if (at >= length) return 0;
        memset(token, 0, sizeof *token);
        token->start = (uint32_t)at;
        if (KIND[text[at]] == WORDY) return read_word(model, text, length, at, token), token->end;
        size_t width = width_at(text, length, at), markup;
        uint32_t one = character_at(text, at, width);
        if (is_joined(one)) return read_joined(model, text, length, at, token), token->end;
        if (is_wordy(one)) return read_word(model, text, length, at, token), token->end;
        if (one < 0x80 && (markup = markup_at(text, length, at))) {
            const Entry *entry = known(model, hashed(text + at, markup, WORD));
            token->meanings = entry ? entry->meanings : 0;
            token->number = token->part = numbered(hashed(text + at, markup, NUMBERED));
            return token->end = (uint32_t)(at + markup);
        }
        if (is_end(one)) {
            size_t end = at;
            while (end < length && is_end(character_at(text, end, width_at(text, length, end)))) end += width_at(text, length, end);
            token->is_end = 1;
            token->number = token->part = numbered(hashed(text + at, end - at < 4 ? end - at : 4, NUMBERED));
            return token->end = (uint32_t)end;
        }
        at += width;
    }
}

/* -- features */

static void empty(Set *set) {
    set->count = 0;
    set->block = (set->block + 1) & (BLOCKS - 1);
    if (!set->block) memset(set->seen, 0, sizeof set->seen), set->block = 1;
}

static void add(Set *set, uint32_t number) {
    uint32_t at = number * 2654435761u >> 22, entry = set->block * NUMBERS + number;
    while (set->seen[at] / NUMBERS == set->block && set->seen[at] != entry) at = (at + 1) & (TABLE - 1);
    if (set->seen[at] == entry || set->count == NUMBERS_MAX) return;
    __builtin_prefetch(set->weights + number); /* A megabyte of weights is seldom near. */
    set->seen[at] = entry;
    set->numbers[set->count++] = number;
}

#define EACH(bit, bits) for (uint32_t bit##_left = (bits), bit; bit##_left && (bit = (uint32_t)__builtin_ctz(bit##_left), 1); bit##_left &= bit##_left - 1)

/* What goes on from block to block: the sentence so far. */
typedef struct {
    Token near[NEAR_MAX + 1]; /* Tokens of this sentence that mean something, the last one last, */
    uint32_t near_at[NEAR_MAX + 1]; /* and which tokens of the text they are. */
    uint32_t near_count;
    Token before[3]; /* The last three of this sentence; the last one first. */
    uint32_t before_count;
    uint32_t starts; /* What the sentence before began with. */
} Sentence;

static void end_sentence(Sentence *sentence) { sentence->near_count = sentence->before_count = 0; }

static void forget_far(Sentence *sentence, uint32_t at) {
    uint32_t far = 0;
    while (far < sentence->near_count && (sentence->near_at[far] + NEAR_TOKENS < at || sentence->near_count - far > NEAR_MAX)) far++;
    if (!far) return;
    sentence->near_count -= far;
    memmove(sentence->near, sentence->near + far, sentence->near_count * sizeof(Token));
    memmove(sentence->near_at, sentence->near_at + far, sentence->near_count * sizeof(uint32_t));
}

static void add_meanings(Set *set, const Sentence *sentence, const Token *token) {
    const Token *last = sentence->near_count ? &sentence->near[sentence->near_count - 1] : 0;
    EACH(own, token->meanings) {
        add(set, BARE + own);
        if (!sentence->before_count) {
            add(set, FIRST + own);
            EACH(start, sentence->starts) add(set, FIRSTS + start * MEANINGS + own);
        }
        for (uint32_t i = 0; i < sentence->near_count; i++) EACH(other, sentence->near[i].meanings) add(set, PAIRS + other * MEANINGS + own);
        if (sentence->near_count > 1)
            EACH(other, sentence->near[sentence->near_count - 2].meanings)
                EACH(middle, last->meanings) add(set, TRIPLES + (other * MEANINGS + middle) * MEANINGS + own);
    }
    if (!last) return;
    EACH(meaning, last->meanings) add(set, mixed(token->part, meaning + 0x101));
    EACH(meaning, token->meanings) add(set, mixed(last->part, meaning + 0x201));
}

static void add_token(Set *set, const Sentence *sentence, const Token *token) {
    const Token *before = sentence->before;
    uint32_t count = sentence->before_count;
    add(set, mixed(token->number, 1));
    if (token->is_end) return;
    add(set, mixed(token->part, 2));
    add(set, mixed(token->part, count ? before[0].part + 0x53 : 9));
    if (token->family) {
        add(set, mixed(token->family, 0x1001));
        for (uint32_t i = 1; i < count; i++)
            if (before[i].family) add(set, mixed(token->family, before[i].family * 4099 + 0x3003));
        if (sentence->near_count) EACH(meaning, sentence->near[sentence->near_count - 1].meanings) add(set, mixed(token->family, meaning + 0x4101));
    }
    if (token->meanings) add_meanings(set, sentence, token);
}

static void go_on(Sentence *sentence, const Token *token, uint32_t at) {
    if (token->is_end) return end_sentence(sentence);
    if (token->meanings) {
        if (!sentence->before_count) sentence->starts = token->meanings;
        sentence->near[sentence->near_count] = *token;
        sentence->near_at[sentence->near_count++] = at;
    }
    sentence->before[2] = sentence->before[1], sentence->before[1] = sentence->before[0], sentence->before[0] = *token;
    if (sentence->before_count < 3) sentence->before_count++;
}

typedef struct {
    const Model *model;
    const uint8_t *text;
    size_t length, at;
    uint32_t tokens;
    Sentence sentence;
} Reading;

/* The feature numbers of the next block, and where it stands; 0 when the text is over. */
static int next_block(Reading *reading, Set *set, uint32_t *start, uint32_t *end) {
    int read = 0;
    Token token;
    empty(set);
    for (size_t next; read < BLOCK_TOKENS && (next = next_token(reading->model, reading->text, reading->length, reading->at, &token)); read++) {
        reading->at = next;
        forget_far(&reading->sentence, reading->tokens);
        add_token(set, &reading->sentence, &token);
        go_on(&reading->sentence, &token, reading->tokens++);
        if (!read) *start = token.start;
        *end = token.end;
    }
    return read;
}

EXPORT uint32_t llmproxy_features(void) { return FEATURES; }
EXPORT uint32_t llmproxy_count_min(void) { return COUNT_MIN; }

/* The key of a word, or (`is_stem`) of the beginning of words, for the table of entries. */
EXPORT uint64_t llmproxy_word_key(const uint8_t *word, size_t length, int is_stem) { return hashed(word, length, is_stem ? STEM : WORD); }

static float root(float of) {
    float guess = of > 1 ? of / 2 : 1;
    for (int i = 0; i < 40; i++) { /* Each step halves what is far away, and then doubles the digits. */
        float before = guess;
        guess = (guess + of / guess) / 2;
        if (guess == before) break;
    }
    return guess;
}

/* What a sum of so many weights is divided by. */
static float rooted(uint32_t count) { return root((float)(count < COUNT_MIN ? COUNT_MIN : count)); }

/* Whether a number comes for the first time. */
static inline int is_first(uint64_t *seen, uint32_t number) {
    uint64_t bit = 1ull << number % 64, *bits = &seen[number / 64], before = *bits;
    *bits |= bit;
    return !(before & bit);
}

/* Whether there is any token; `worst` is then the window with the highest score. A window's sum of weights has at most 2 * NUMBERS_MAX terms. */
EXPORT int llmproxy_worst_window(const Model *model, const uint8_t *text, size_t length, Window *worst) {
    uint32_t numbers[NUMBERS_MAX], start = 0, end = 0, start_before = 0;
    Set set = {.numbers = numbers, .weights = model->weights};
    Reading reading = {.model = model, .text = text, .length = length};
    int32_t sum_before = 0;
    uint32_t count_before = 0, blocks = 0;
    double scores = 0; /* Of all windows but the first block alone. */
    uint64_t seen[FEATURES / 64 + 1]; /* A bit for each feature of the text: of several blocks, for it is more than a core's nearest cache. */
    uint32_t first[NUMBERS_MAX], distinct = 0;
    int64_t whole = 0;
    for (; next_block(&reading, &set, &start, &end); blocks++) {
        int32_t sum = 0;
        if (blocks == 1) {
            memset(seen, 0, sizeof seen);
            for (uint32_t i = 0; i < distinct; i++) is_first(seen, first[i]);
        }
        for (uint32_t i = 0; i < set.count; i++) {
            const int16_t *weights = model->weights[numbers[i]];
            int is_new = !blocks || is_first(seen, numbers[i]); /* Of one block they all are. */
            sum += weights[0];
            whole += is_new ? weights[1] : 0;
            distinct += (uint32_t)is_new;
        }
        if (!blocks) memcpy(first, numbers, set.count * sizeof *first);
        uint32_t count = count_before + set.count;
        float score = (float)(sum_before + sum) / rooted(count);
        /* A window is two blocks; the first block alone is one only where it is all there is. */
        if (blocks < 2 || score > worst->score) *worst = (Window){.score = score, .start = blocks ? start_before : start, .end = end};
        if (blocks) scores += score;
        sum_before = sum, count_before = set.count, start_before = start;
    }
    if (!blocks) return 0;
    worst->windows = blocks > 1 ? blocks - 1 : 1;
    worst->whole = (float)whole / rooted(distinct);
    worst->others = worst->windows > 1 ? (float)((scores - worst->score) / (worst->windows - 1)) : 0;
    return 1;
}

/* For training: the numbers of each block, one block after the other, and where each ends. Returns how many blocks. */
EXPORT uint32_t llmproxy_block_numbers(const Model *model, const uint8_t *text, size_t length, uint32_t *out, uint32_t out_max, uint32_t *ends, uint32_t ends_max) {
    uint32_t numbers[NUMBERS_MAX], start = 0, end = 0, blocks = 0, total = 0;
    Set set = {.numbers = numbers, .weights = model->weights};
    Reading reading = {.model = model, .text = text, .length = length};
    while (blocks < ends_max && next_block(&reading, &set, &start, &end)) {
        if (total + set.count > out_max) break;
        memcpy(out + total, numbers, set.count * sizeof(uint32_t));
        ends[blocks++] = total += set.count;
    }
    return blocks;
}
