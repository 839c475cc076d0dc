/* What in a text gives reason to look for something hidden in it. The bits are those of views.Hint. */
#include "native.h"

enum { ESCAPE = 1, PERCENT = 2, ENTITY = 4, FOLD = 8, RUN = 16 };
enum { RUN_BYTES_MIN = 16, PAIRS_MIN = 8, ENTITY_LETTERS_MAX = 8 };

static int is_run(uint8_t one) {
    return is_digit(one) || is_letter(one) || one == '+' || one == '/' || one == '_' || one == '-';
}

/* \u0069, \x69, \u{69} */
static int is_escape(const uint8_t *text, size_t length, size_t at) {
    if (++at >= length || (text[at] != 'u' && text[at] != 'x')) return 0;
    if (++at < length && text[at] == '{') at++;
    return at + 1 < length && is_hex(text[at]) && is_hex(text[at + 1]);
}

/* &#105; &quot; */
static int is_entity(const uint8_t *text, size_t length, size_t at) {
    size_t letters = 0;
    if (++at < length && text[at] == '#') return 1;
    while (at < length && letters <= ENTITY_LETTERS_MAX && is_letter(text[at])) at++, letters++;
    return letters >= 2 && letters <= ENTITY_LETTERS_MAX && at < length && text[at] == ';';
}

/* The marks in a text, as bits; `*first` is where the first of them stands, or the length. */
EXPORT uint32_t llmproxy_marks(const uint8_t *text, size_t length, size_t *first) {
    uint32_t found = 0;
    size_t run = 0, upper_or_digit = 0, pairs = 0, pair_end = 0;
    *first = length;
    for (size_t at = 0; at < length; at++) {
        uint8_t one = text[at];
        uint32_t mark = 0;
        if (is_run(one)) {
            run++;
            upper_or_digit += is_digit(one) || (one >= 'A' && one <= 'Z');
            if (run >= RUN_BYTES_MIN && upper_or_digit) mark = RUN; /* A word of many letters is no code. */
        } else {
            run = upper_or_digit = 0;
            if (one >= 0x80) mark = FOLD;
            else if (one == '\\' && is_escape(text, length, at)) mark = ESCAPE;
            else if (one == '&' && is_entity(text, length, at)) mark = ENTITY;
            else if (one == ' ' || one == ',' || one == ':') { /* 69 67 6e */
                if (at >= 2 && is_hex(text[at - 1]) && is_hex(text[at - 2])) {
                    pairs = pairs && pair_end + 3 == at ? pairs + 1 : 1;
                    pair_end = at;
                    if (pairs >= PAIRS_MIN) mark = RUN;
                }
            } else if (one == '%' && at + 2 < length && is_hex(text[at + 1]) && is_hex(text[at + 2])) mark = PERCENT;
        }
        if (mark && !found) *first = mark != RUN ? at : run ? at + 1 - run : at + 1 - 3 * PAIRS_MIN;
        found |= mark;
    }
    return found;
}
