/* What personal data and credentials a text can hold at all, in one pass. A bit that is not set is a promise: nothing of its kind is there.
 * The bits are those of llmproxy.shield.look, which also builds the tables of literals. UTF-8: what is not ASCII ends every run. */
#include "native.h"

enum {
    AT = 1 << 0, COLONS = 1 << 1, DOTS = 1 << 2, YEAR = 1 << 3, CODED = 1 << 4, NUMBER = 1 << 5, WALLET = 1 << 6, BEYOND = 1 << 7, VENDOR = 1 << 8,
    ASSIGNED = 1 << 9, DRAWN = 1 << 10, ENCODED = 1 << 18, MARKUP = 1 << 19, LONG = 1 << 20, /* The others below 27 are given by literals alone. */
    OF_TEXT = (1 << 27) - 1,
    NAME = 1 << 27, VENDOR_NAME = 1 << 28, INSIDE = 1 << 29, EXACT = 1 << 30, /* What literals are. */
};
enum {
    WORD_MIN = 16, RUN_MIN = 8, DIGITS_MIN = 30, TURNS_MIN = 6, NAMED_BEFORE = 48, VENDOR_NAMED_MIN = 24, /* As guards.secrets. */
    LONG_MIN = 256, /* As answers.noise. */
    NUMBER_MIN = 6, GAP_MAX = 3, MARKS_MIN = 5, WALLET_MIN = 26, DOTS_MIN = 3, OCTET_DIGITS_MAX = 3, /* As shield.personal. */
};

static inline size_t bucket(uint32_t head) { return (head * 0x9E3779B1u) >> 20; }
static inline int is_gap(uint8_t one) {
    return one == ' ' || one == '(' || one == ')' || one == '.' || one == '/' || one == '_' || one == '-';
}
static inline int is_markup(uint8_t one) { return one == '[' || one == ']' || one == '<' || one == '=' || one == '\\' || one == 0x1b; }
static inline uint8_t lower(uint8_t one) { return (uint8_t)(one - 'A') < 26 ? one | 0x20 : one; }

static inline int is_small(uint8_t one) { return (uint8_t)(one - 'a') < 26; }

/* As glance.WORD_BREAKS. Of 32 characters each, a bit. */
static const uint32_t BREAKS[8] = {0xFFFFFFFF, 0xD8001385, 0x38000000, 0xB8000001, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF};

static inline int is_break(uint8_t one) { return BREAKS[one >> 5] >> (one & 31) & 1; }

/* The classes of all literals of a chain that stand at `at`. One is its length, four bytes of class (least first) and its letters, in lower case
 * unless it is EXACT; a length of zero ends the chain. */
static uint32_t literals_at(const uint8_t *text, size_t length, size_t at, const uint8_t *chain) {
    uint32_t found = 0;
    for (; *chain; chain += 5 + *chain) {
        size_t size = *chain, i = 0;
        uint32_t class = chain[1] | (uint32_t)chain[2] << 8 | (uint32_t)chain[3] << 16 | (uint32_t)chain[4] << 24;
        if (at + size > length) continue;
        while (i < size && (class & EXACT ? text[at + i] : lower(text[at + i])) == chain[5 + i]) i++;
        if (i == size) found |= class;
    }
    return found;
}

/* A date, or seconds with their fraction, as shield.personal.numbers.MOMENT: 0000-00-00, with - or / also 0000-00-000, each with " 00" behind it; 00.000 */
static int is_moment(const uint8_t *run, size_t size) {
    size_t at = 0;
    if (size >= 6 && size <= 12 && is_digit(run[1]) && run[2] == '.') {
        for (at = 3; at < size && is_digit(run[at]); at++) {}
        return at == size;
    }
    if (size < 10) return 0;
    for (at = 0; at < 4; at++) if (!is_digit(run[at])) return 0;
    if ((run[4] != '-' && run[4] != '/' && run[4] != '.') || run[7] != run[4]) return 0;
    if (!is_digit(run[5]) || !is_digit(run[6]) || !is_digit(run[8]) || !is_digit(run[9])) return 0;
    at = 10;
    if (at < size && run[4] != '.' && is_digit(run[at])) at++;
    if (at < size && run[at] == ' ' && at + 3 == size && is_digit(run[at + 1]) && is_digit(run[at + 2])) at += 3;
    return at == size;
}

static int are_hex(const uint8_t *text, size_t count) {
    for (size_t at = 0; at < count; at++) if (!is_hex(text[at])) return 0;
    return 1;
}

typedef struct {
    size_t first, run, run_digits; /* Where it begins; the letters and digits that end here, and how many of those are digits. */
    uint32_t turns, alternating;   /* From small to capital; how long a letter has followed a digit and a digit a letter. */
    uint8_t is_drawn, has_upper, has_lower, has_digit, is_upper_run, has_literal;
} Word;

static void end_run(Word *word) {
    if (word->run >= RUN_MIN) {
        if (!word->run_digits) word->is_drawn |= word->run >= WORD_MIN && word->is_upper_run;
        else word->is_drawn |= word->run_digits < word->run || word->run >= DIGITS_MIN;
    }
    word->run = word->run_digits = 0;
    word->alternating = 0;
    word->is_upper_run = 1;
}

static void add(Word *word, uint8_t one, uint8_t before) {
    int digit = is_digit(one), letter = is_letter(one), upper = letter && one < 'a';
    if (!digit && !letter) {
        end_run(word);
        return;
    }
    word->turns += upper && word->run && (is_digit(before) || before >= 'a');
    word->has_upper |= upper;
    word->has_digit |= digit;
    word->has_lower |= letter && !upper;
    word->is_upper_run &= digit || upper;
    word->run++;
    word->run_digits += digit;
    if (letter) word->alternating = is_digit(before) && word->alternating == 2 ? 3 : 1;
    else word->alternating = is_letter(before) && word->alternating % 2 ? word->alternating + 1 : 0;
    if (word->alternating >= 4) word->is_drawn = 1;
}

/* Four letters in lower case. */
static inline uint32_t four_at(const uint8_t *here) {
    return (here[0] | (uint32_t)here[1] << 8 | (uint32_t)here[2] << 16 | (uint32_t)here[3] << 24) | 0x20202020; /* One load. */
}

/* The next four letters, or three where there are no more. */
static inline uint32_t heads_at(const uint8_t *text, size_t length, size_t at) {
    const uint8_t *here = text + at;
    if (at + 3 < length) return four_at(here);
    return (here[0] | (uint32_t)here[1] << 8 | (uint32_t)here[2] << 16) | 0x20202020;
}

/* `names` and `keys` say for the hash of three and of two lower-case letters where in `chains` the literals that may begin so are; 0 is none. `filter`
 * has a bit for the hash of the first four letters of each name, so that most chains are not walked in vain. */
struct Literals {
    const uint8_t *filter;
    const uint16_t *names, *keys;
    const uint8_t *chains;
};

/* One past where the last name, and the last vendor's name, begins; 0 is none. */
typedef struct {
    size_t any, vendors;
} Named;

/* The classes of the names that begin at `at`, nearly always none; there are two characters behind it. */
static inline uint32_t names_at(const Literals *literals, const uint8_t *text, size_t length, size_t at, uint32_t four, Named *named, Word *word) {
    uint32_t hash = four * 0x9E3779B1u;
    if (__builtin_expect(!(literals->filter[hash >> 19] >> (hash >> 16 & 7) & 1), 1)) return 0;
    uint16_t chain = literals->names[bucket(four & 0xffffff)];
    uint32_t class = chain ? literals_at(text, length, at, literals->chains + chain) : 0;
    if (class & NAME) named->any = at + 1;
    if (class & VENDOR_NAME) named->vendors = at + 1;
    if (class & INSIDE) word->has_literal = 1;
    return class & OF_TEXT;
}

/* The bits of what the text can hold. A name counts wherever it stands, a key where a word begins. */
EXPORT uint32_t llmproxy_candidates(const Literals *literals, const uint8_t *text, size_t length) {
    const uint8_t *chains = literals->chains;
    const uint16_t *keys = literals->keys;
    uint32_t found = 0;
    size_t digits = 0, first_digit = 0, last_digit = 0; /* Of the number under way. */
    size_t decimals = 0, letters = 0, letters_before = 0; /* Runs that end here; the letters directly before the digits. */
    size_t marks = 0, alnum = 0;
    Named named = {0, 0};
    uint32_t dots = 0;                      /* Groups of at most three digits, each with a dot behind it, that end here. */
    Word word = {.is_upper_run = 1};
    for (size_t at = 0; at <= length; at++) {
        uint8_t one = at < length ? text[at] : 0, before = at ? text[at - 1] : 0;

        if (at + 2 < length) found |= names_at(literals, text, length, at, heads_at(text, length, at), &named, &word);
        /* Nearly every byte: small letters of a word, and those with which one begins behind a space. As below, without what cannot be. */
        int begins = before == ' ' && !digits && at + 1 < length;
        if (is_small(one) && (begins || is_small(before))) {
            size_t first = at;
            if (begins) {
                uint16_t chain = keys[bucket((one | (uint32_t)text[at + 1] << 8) | 0x2020)];
                if (chain && literals_at(text, length, at, chains + chain)) word.has_literal = 1;
                word.has_lower = 1, word.is_upper_run = 0, word.run = 0;
                letters = alnum = marks = 0;
            }
            uint8_t highest = one;
            while (at + 4 < length && is_small(text[at + 1])) {
                at++;
                highest = text[at] > highest ? text[at] : highest;
                found |= names_at(literals, text, length, at, four_at(text + at), &named, &word);
            }
            size_t more = at + 1 - first;
            letters += more, alnum += more, word.run += more, word.alternating = 1;
            marks = highest <= 'f' ? marks : 0;
            continue;
        }
        if (one >= 0x80 && before >= 0x80) { /* Of a script that is not ASCII. */
            word.first = at + 1;
            continue;
        }
        /* Nearly every other: the space behind a word. */
        if (one == ' ' && is_small(before) && !digits && at - word.first < WORD_MIN) {
            if (alnum >= WALLET_MIN) found |= WALLET;
            letters = decimals = marks = alnum = dots = 0;
            word = (Word){.first = at + 1, .is_upper_run = 1};
            continue;
        }

        int digit = is_digit(one), letter = is_letter(one);
        if ((digit || letter) && at + 1 < length && !(is_digit(before) || is_letter(before))) {
            uint16_t chain = keys[bucket((one | (uint32_t)text[at + 1] << 8) | 0x2020)];
            if (chain && literals_at(text, length, at, chains + chain)) word.has_literal = 1;
        }

        if (digit) {
            if (!digits++) first_digit = at;
            last_digit = at;
        } else if (digits && (!is_gap(one) || at - last_digit > GAP_MAX)) {
            if (digits >= NUMBER_MIN && !is_moment(text + first_digit, last_digit + 1 - first_digit)) found |= NUMBER;
            digits = 0;
        }

        if (digit) {
            if (!decimals) letters_before = letters;
            decimals++;
            if (dots >= DOTS_MIN) found |= DOTS;
            if (decimals >= 4 && ((text[at - 3] == '1' && text[at - 2] == '9') || (text[at - 3] == '2' && text[at - 2] == '0'))) found |= YEAR;
            if (decimals == 2 && letters_before == 2 && (at < 4 || !is_digit(text[at - 4]))) found |= CODED; /* The beginning of an IBAN. */
        } else {
            if (letter && ((decimals == 2 && letters_before) || (decimals == 4 && letters_before >= 5))) found |= CODED;
            dots = one == '.' && decimals && decimals <= OCTET_DIGITS_MAX ? dots + 1 : 0;
            decimals = 0;
        }
        letters = letter ? letters + 1 : 0;

        if (one == ':' || one == '-') {
            if (++marks >= MARKS_MIN || (one == ':' && before == ':')) found |= COLONS;
        } else if (!is_hex(one)) marks = 0;
        if (one == '.' && at >= 4 && at + 9 < length && text[at + 5] == '.' && are_hex(text + at - 4, 4) && are_hex(text + at + 1, 4)
            && are_hex(text + at + 6, 4)) found |= COLONS; /* A MAC address in groups of four. */
        if (digit || letter) alnum++;
        else {
            if (alnum >= WALLET_MIN) found |= WALLET;
            alnum = 0;
        }
        if (one == '@') found |= AT;
        if (one >= 0x80) found |= BEYOND;
        if (one == '%' && at + 2 < length && is_hex(text[at + 1]) && is_hex(text[at + 2])) found |= ENCODED;
        if (is_markup(one)) found |= MARKUP;

        if (at < length && !is_break(one)) {
            add(&word, one, before);
            continue;
        }
        if (at - word.first >= WORD_MIN) {
            if (at - word.first >= LONG_MIN) found |= LONG;
            end_run(&word);
            if (word.has_upper || word.has_digit) found |= ENCODED;
            int is_drawn = word.is_drawn || word.turns >= TURNS_MIN;
            if (word.has_literal && (is_drawn || word.has_upper || !word.has_lower)) found |= VENDOR;
            if (is_drawn) {
                size_t window = found & BEYOND ? 4 * NAMED_BEFORE : NAMED_BEFORE; /* The guard counts characters. */
                size_t from = word.first > window ? word.first - window : 0;
                found |= DRAWN;
                if (named.any > from || (at - word.first >= VENDOR_NAMED_MIN && named.vendors > from)) found |= ASSIGNED;
            }
        }
        word = (Word){.first = at + 1, .is_upper_run = 1};
    }
    return found;
}
