/* Lists of numbers that are the codes of letters: 0x49, 0x67, … 73 103 … 01001001 … chr(73)+chr(103)… in base 16, 10, 8 or 2. */
#include "native.h"

enum {
    CODES_MIN = 8,   /* Fewer characters are no order. */
    GAP_MAX = 8,     /* Bytes between two numbers that are neither letters nor digits. */
    LETTERS_MIN = 6, /* Of ten characters, with the spaces: less is no text. */
    HEX_DIGITS_MAX = 16,
    AGAIN_BYTES_MAX = 12, /* Of numbers that are none of a list, that are read again from the next one on. */
};

/* A stretch of letters and digits. */
typedef struct {
    size_t at, end;
} Token;

typedef struct {
    size_t end;              /* Of the text that the list takes, */
    size_t written, letters; /* and what it says. */
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

/* What a number says in a base, added to the list; 0 if it says nothing. A byte of zeros says nothing, and is in the codes of two bytes. */
static int read_number(const uint8_t *text, Token token, unsigned base, List *list, uint8_t *out) {
    unsigned said, digits;
    token = number_in(text, token, &said);
    size_t length = token.end - token.at;
    if (said && said != base) return 0;
    if (base == 16 && (length % 2 || length > HEX_DIGITS_MAX)) return 0;
    if (base == 10 && (length < 2 || length > 3)) return 0;
    if (base == 8 && (length < (said ? 2 : 3) || length > 4)) return 0;
    if (base == 2 && length != 7 && length % 8) return 0;
    digits = base == 16 ? 2 : base == 2 && length != 7 ? 8 : (unsigned)length;
    List before = *list;
    for (size_t at = token.at; at < token.end; at += digits) {
        unsigned value = 0;
        for (unsigned one = 0; one < digits; one++) {
            unsigned digit = (unsigned)value_of(text[at + one]);
            if (digit >= base) return *list = before, 0;
            value = value * base + digit;
        }
        if (!value && base == 16) continue;
        if (!is_printable(value)) return *list = before, 0;
        say(list, out, value);
    }
    list->end = token.end;
    return length > 0;
}

/* The list of numbers of a base that begins with a token. */
static List list_at(const uint8_t *text, size_t length, Token token, unsigned base, uint8_t *out) {
    List list = {token.at, 0, 0};
    while (token.at < length) {
        if (!read_number(text, token, base, &list, out) && !(list.written && is_announcement(text, token))) break;
        size_t at = token.end;
        while (at < length && at - token.end <= GAP_MAX && !is_alnum(text[at])) at++;
        if (at - token.end > GAP_MAX) break;
        token = token_at(text, length, at);
    }
    return list;
}

static int is_text(const List *list) { return list->written >= CODES_MIN && list->letters * 10 >= list->written * LETTERS_MIN; }

/* Goes through the numbers of a text from a place on. Where `out` is given, copies the text with its lists as what they say; else stops at the
 * first one. Returns how many bytes were written, or where the first list begins: at the length where there is none. */
static size_t read_codes(const uint8_t *text, size_t length, size_t from, uint8_t *out) {
    static const unsigned BASES[] = {16, 10, 8, 2};
    size_t to = 0;
    for (size_t at = from; at < length;) {
        if (!is_alnum(text[at])) {
            if (out) out[to++] = text[at];
            at++;
            continue;
        }
        Token token = token_at(text, length, at);
        size_t behind = token.end;
        int is_found = 0;
        if (is_digit(text[at]) || is_hex(text[at]) || (text[at] | 0x20) == 'x' || (text[at] | 0x20) == 'u') {
            for (unsigned one = 0; one < 4 && !is_found; one++) {
                List list = list_at(text, length, token, BASES[one], out ? out + to : 0);
                is_found = is_text(&list);
                if (is_found && !out) return at;
                if (is_found) to += list.written, at = list.end;
                else if (list.end > behind + AGAIN_BYTES_MAX) behind = list.end;
            }
        }
        if (is_found) continue;
        for (; at < behind; at++)
            if (out) out[to++] = text[at];
    }
    return out ? to : length;
}

/* Where the first list of codes begins; the length where there is none. */
size_t first_codes(const uint8_t *text, size_t length, size_t from) { return read_codes(text, length, from, 0); }

/* The text with lists of codes as what they say. `out` has room for `length` bytes. Returns how many were written. */
EXPORT size_t llmproxy_codes(const uint8_t *text, size_t length, uint8_t *out) { return read_codes(text, length, 0, out); }
