/* Lists of numbers that are the codes of letters: 0x49, 0x67, … 73 103 … 01001001 … chr(73)+chr(103)… in base 16, 10, 8 or 2. */
#include "native.h"
#include <string.h>

enum {
    CODES_MIN = 8,   /* Fewer characters are no order. */
    GAP_MAX = 8,     /* Bytes between two numbers that are neither letters nor digits. */
    LETTERS_MIN = 6, /* Of ten characters, with the spaces: less is no text. */
    HEX_DIGITS_MAX = 16,
    BASES_COUNT = 4,
    LOOKED_AT_MAX = 1 << 13, /* Bytes from the first number on, for the first list: a text may be nothing but numbers. */
};

static const unsigned BASES[BASES_COUNT] = {16, 10, 8, 2};

/* A stretch of letters and digits. */
typedef struct {
    size_t at, end;
} Token;

/* Numbers of one base, one after the other. */
typedef struct {
    size_t start, end;       /* In the text; */
    size_t written, letters; /* and what they say: characters, and those that are letters or spaces. */
} List;

static int is_alnum(uint8_t one) { return is_letter(one) || is_digit(one); }

static Token token_at(const uint8_t *text, size_t length, size_t at) {
    Token token = {at, at};
    while (token.end < length && is_alnum(text[token.end])) token.end++;
    return token;
}

static int value_of(uint8_t one) { return is_digit(one) ? one - '0' : is_hex(one) ? (one | 0x20) - 'a' + 10 : 99; }

/* Words that stand before each number: chr(73), char(73), U+0049, \u{49}. */
static int is_announcement(const uint8_t *text, Token token) {
    size_t length = token.end - token.at;
    uint8_t one = text[token.at] | 0x20, last = text[token.end - 1] | 0x20;
    return (length == 1 && (one == 'u' || one == 'x')) || ((length == 3 || length == 4) && one == 'c' && last == 'r' && (text[token.at + 1] | 0x20) == 'h');
}

/* The number without 0x, 0b, 0o, x or u before it; `*base` is set where that says it. */
static Token number_in(const uint8_t *text, Token token, unsigned *base) {
    size_t length = token.end - token.at;
    uint8_t first = text[token.at], kind = length > 1 ? text[token.at + 1] | 0x20 : 0;
    *base = 0;
    if (first == '0' && length > 2 && (kind == 'x' || kind == 'o')) return *base = kind == 'x' ? 16 : 8, (Token){token.at + 2, token.end};
    if (first == '0' && kind == 'b' && length >= 9) return *base = 2, (Token){token.at + 2, token.end};
    if (length > 2 && ((first | 0x20) == 'x' || (first | 0x20) == 'u')) return *base = 16, (Token){token.at + 1, token.end};
    return token;
}

static int is_printable(unsigned value) { return (value >= 32 && value < 127) || value == '\n' || value == '\r' || value == '\t'; }

static void say(List *list, uint8_t *out, unsigned value) {
    if (out) out[list->written] = (uint8_t)value;
    list->written++;
    list->letters += value == ' ' || is_letter((uint8_t)value);
}

/* Whether so many digits may be codes in a base. `said`: the base that stands before them, or 0. */
static inline int may_be(unsigned base, unsigned said, size_t length) {
    if (said && said != base) return 0;
    if (base == 16) return length % 2 == 0 && length <= HEX_DIGITS_MAX;
    if (base == 10) return length == 2 || length == 3;
    if (base == 8) return length >= (said ? 2 : 3) && length <= 4;
    return length == 7 || length % 8 == 0;
}

/* What the digits of a token say in a base, added to the list; 0 if nothing. A byte of zeros says nothing, and is in the codes of two bytes. */
static int read_number(const uint8_t *text, Token token, Token number, unsigned base, List *list, uint8_t *out) {
    size_t length = number.end - number.at;
    List after = *list;
    size_t digits = base == 16 ? 2 : base == 2 && length != 7 ? 8 : length;
    for (size_t at = number.at; at < number.end; at += digits) {
        unsigned value = 0;
        for (size_t one = 0; one < digits; one++) {
            unsigned digit = (unsigned)value_of(text[at + one]);
            if (digit >= base) return 0;
            value = value * base + digit;
        }
        if (!value && base == 16) continue;
        if (!is_printable(value)) return 0;
        say(&after, out, value);
    }
    if (!list->written) after.start = token.at;
    after.end = token.end;
    *list = after;
    return 1;
}

static int is_text(const List *list) { return list->written >= CODES_MIN && list->letters * 10 >= list->written * LETTERS_MIN; }

/* Whether a list is part of another one that goes on. */
static int is_within(const List *list, const List *others, unsigned count) {
    for (unsigned one = 0; one < count; one++)
        if (others[one].written && others[one].start <= list->start && others[one].end >= list->end) return 1;
    return 0;
}

static int may_begin(uint8_t one) { return is_hex(one) || (one | 0x20) == 'x' || (one | 0x20) == 'u'; }

/* The next list of a text from a place on that says something, with its base; 0 if there is none. Each number is read once in each base. Of two
 * lists that have numbers in common the one that goes on longer is meant. */
static unsigned next_list(const uint8_t *text, size_t length, size_t from, List *found) {
    List lists[BASES_COUNT] = {{0}};
    size_t end = from;
    for (size_t at = from;; at = end) {
        while (at < length && !is_alnum(text[at])) at++;
        Token token = token_at(text, length, at);
        unsigned said = 0;
        int goes_on = at < length && at - end <= GAP_MAX;
        int is_announced = goes_on && is_announcement(text, token);
        Token number = at < length && may_begin(text[at]) ? number_in(text, token, &said) : (Token){at, at};
        for (unsigned one = 0; one < BASES_COUNT; one++) {
            List *list = &lists[one], before = *list;
            int is_number = number.end > number.at && may_be(BASES[one], said, number.end - number.at);
            if (goes_on && is_number && read_number(text, token, number, BASES[one], list, 0)) continue;
            if (is_announced && before.written) continue;
            *list = (List){0};
            if (is_number && !goes_on) read_number(text, token, number, BASES[one], list, 0);
            if (is_text(&before) && !is_within(&before, lists, goes_on ? BASES_COUNT : 0)) return *found = before, BASES[one];
        }
        if (at >= length) return 0;
        end = token.end;
    }
}

/* Writes what the numbers of a list say. */
static size_t write_list(const uint8_t *text, const List *found, unsigned base, uint8_t *out) {
    List list = {0};
    for (size_t at = found->start; at < found->end;) {
        Token token = token_at(text, found->end, at);
        unsigned said = 0;
        Token number = token.end > token.at ? number_in(text, token, &said) : token;
        if (number.end > number.at && may_be(base, said, number.end - number.at)) read_number(text, token, number, base, &list, out);
        at = token.end > token.at ? token.end : at + 1;
    }
    return list.written;
}

/* Where the first list of codes begins; the length where there is none. */
size_t first_codes(const uint8_t *text, size_t length, size_t from) {
    List found;
    size_t end = length - from < LOOKED_AT_MAX ? length : from + LOOKED_AT_MAX;
    return next_list(text, end, from, &found) ? found.start : length;
}

/* The text with lists of codes as what they say. `out` has room for `length` bytes. Returns how many were written. */
EXPORT size_t llmproxy_codes(const uint8_t *text, size_t length, uint8_t *out) {
    size_t at = 0, to = 0;
    List found;
    for (unsigned base; (base = next_list(text, length, at, &found)); at = found.end) {
        memcpy(out + to, text + at, found.start - at);
        to += found.start - at;
        to += write_list(text, &found, base, out + to);
    }
    memcpy(out + to, text + at, length - at);
    return to + length - at;
}
