/* What in a text gives reason to look for something hidden in it, in one pass; and words of a lexicon, spelt right. The bits are those of
 * views.Hint. */
#include "digits.h"
#include "letters.h"
#include "native.h"
#include <string.h>

enum {
    ESCAPE = 1, PERCENT = 2, ENTITY = 4, FOLD = 8, RUN = 16, SPACED = 32, JOINED = 64, LEET = 128, ROT13 = 256, REVERSED = 512, TYPO = 1024,
    CODES = 2048, QUOTED = 4096, CIPHER = 8192,
    NUMBER = 1 << 30, /* What is all digits may be a word, where others are. */
};
enum {
    RUN_BYTES_MIN = 16,
    PAIRS_MIN = 8,
    CODE_WORDS_MIN = 4,   /* Of base 64, one after the other, with so many bytes between them at most: short lines, or words. */
    CODE_WORDS_APART_MAX = 3,
    DIGITS_MIN = 20,      /* Of numbers that may be codes of a dozen letters, in any base, */
    DIGITS_APART_MAX = 12, /* with so many bytes between them at most. */
    MORSE_MIN = 8, MORSE_SIGNS_MAX = 6, MORSE_APART_MAX = 4,
    QUOTED_MIN = 3, QUOTED_APART_MAX = 64,
    PROBE_BYTES = 18,     /* Of a run are decoded, to see whether it is text. */
    TURNED_LETTERS = 40,  /* What has as many bytes, in any base and on any grid. */
    TURNED_LETTERS_MIN = 24, /* A number of sixteen digits is text by chance, one way or another, in every thousandth case. */
    PROBE_BYTES_MIN = 6,  /* What a run of 16 letters in base 16 has, beginning with the fourth. */
    ENTITY_LETTERS_MAX = 8,
    SINGLES_MIN = 4,      /* Letters standing alone, one after the other, */
    APART_MAX = 6,        /* with so many other characters between them at most. */
    ACCENTS_MIN = 4,      /* Letters with marks, half of a word: few words of Czech and Vietnamese have as many. */
    WORD_LETTERS_MIN = 3, /* Of the lexicon. */
    TYPO_LETTERS_MIN = 5, /* Shorter words are often one swap away from another. */
    JOINTS_MAX = 4,       /* Between two parts of a word. */
    TAG_BYTES_MAX = 64, NAME_BYTES_MAX = 8,
    GLUE_MAX = 2,         /* Spaces on either side of what joins two strings of a program, and signs of that. */
    BLOCK = 64,           /* Bytes; a stretch that is sure began in the block before at the latest, or soon will have. */
    SURE = 20 * 8,        /* A stretch of text is a million times likelier when it is turned. */
    ODD = 12 * 8,         /* A stretch that is thousands of times likelier, by chance or because it is written in other letters. */
    SURE_EACH = 2,        /* A quarter of a bit for each letter: none of them is as likely as another alphabet makes it. */
    CIPHER_LETTERS_MIN = 24,
    MIRRORED = 26,        /* As views.MIRRORED. */
};

/* Words by the sum of their letters' weights, which is the same in any order of the letters. */
struct Lexicon {
    const uint32_t *weights; /* Of a byte as what it is read as; i and l weigh the same, because a 1 is either. */
    const uint8_t *read;     /* The letter that a byte is read as: a 4 as an a; 0 for what is in no word. */
    const uint32_t *keys;    /* [mask + 1], by open addressing; 0 where there is none. At least one is 0. */
    const uint32_t *places;  /* [mask + 1]: where the word begins in `letters`, times 32, and its length. */
    const uint8_t *letters;
    const uint32_t *anchors; /* Places of words that are also found with one letter wrong, missing or too many, */
    const uint32_t *begins;  /* [27]: and where those begin that begin with a letter. */
    uint32_t mask;
};

static int is_code_sign(uint8_t one) { return one == '+' || one == '/' || one == '_' || one == '-'; }
static int is_sign(uint8_t one) { return one == '@' || one == '$' || one == '!' || one == '+'; }

/* Whether an escaped line break or tab parts words: JSON within JSON has them. In a path or a formula it is most likely none. */
static int parts_words(const uint8_t *text, size_t length, size_t at) {
    if (at + 2 >= length || !(is_letter(text[at + 2]) || text[at + 2] >= 0x80)) return 0;
    while (at && text[at - 1] == '\\') at--;
    uint8_t before = at ? text[at - 1] : 0;
    return is_letter(before) || is_digit(before) || before >= 0x80 || (before && strchr(".,;:!?\"')>*", before));
}

/* \u0069, \x69, \u{69}, \U00000069, \151\147 */
static int is_escape(const uint8_t *text, size_t length, size_t at) {
    uint8_t kind = at + 1 < length ? text[at + 1] : 0;
    if (kind == 'n' || kind == 't' || kind == 'r') return parts_words(text, length, at);
    if (kind == '0' || kind == '1') return at + 4 < length && is_digit(text[at + 2]) && is_digit(text[at + 3]) && text[at + 4] == '\\';
    if (kind != 'u' && kind != 'x' && kind != 'U') return 0;
    at += 2;
    if (at < length && text[at] == '{') at++;
    return at + 1 < length && is_hex(text[at]) && is_hex(text[at + 1]);
}

/* %69, %u0069 */
static int is_percent(const uint8_t *text, size_t length, size_t at) {
    at += at + 1 < length && text[at + 1] == 'u' ? 2 : 1;
    return at + 1 < length && is_hex(text[at]) && is_hex(text[at + 1]);
}

/* &#105; &quot; */
static int is_entity(const uint8_t *text, size_t length, size_t at) {
    size_t letters = 0;
    if (++at < length && text[at] == '#') return 1;
    while (at < length && letters <= ENTITY_LETTERS_MAX && is_letter(text[at])) at++, letters++;
    return letters >= 2 && letters <= ENTITY_LETTERS_MAX && at < length && text[at] == ';';
}

/* -- what may stand inside of a word without parting it */

static int is_in(uint32_t one, uint32_t from, uint32_t to) { return one - from <= to - from; }

/* The character at a place of a text that may not be UTF-8, and how many bytes it takes. */
static uint32_t character(const uint8_t *text, size_t length, size_t at, size_t *taken) {
    uint8_t one = text[at];
    size_t more = one < 0xc0 ? 0 : one < 0xe0 ? 1 : one < 0xf0 ? 2 : 3;
    uint32_t found = more ? one & (0x3fu >> more) : one;
    *taken = 1;
    for (; *taken <= more; ++*taken) {
        if (at + *taken >= length || (text[at + *taken] & 0xc0) != 0x80) return 0xfffd;
        found = found << 6 | (text[at + *taken] & 0x3f);
    }
    return found;
}

/* Whether a character is a sign or a picture, and no letter that is drawn in a circle or a box: views.SYMBOL. */
static int is_symbol(uint32_t one) {
    if (one < 0x2000) return one == 0xd7 || one == 0xf7 || (is_in(one, 0xa1, 0xbf) && one != 0xaa && one != 0xad && one != 0xb5 && one != 0xba);
    if (one > 0x2bff) return one == 0xfe0f || is_in(one, 0x1f300, 0x1faff);
    return is_in(one, 0x2010, 0x2027) || is_in(one, 0x2030, 0x205e) || is_in(one, 0x2190, 0x245f) || is_in(one, 0x2500, 0x27ff) || one >= 0x2900;
}

enum { NO_JOINT, SIGN, SLASH, OPENS, QUOTE, BREAKS, COLOURS, SYMBOL };

static const uint8_t JOINTS[256] = {
    ['.'] = SIGN, ['_'] = SIGN, ['*'] = SIGN, ['~'] = SIGN, ['`'] = SIGN, ['|'] = SIGN, ['^'] = SIGN, ['#'] = SIGN, [';'] = SIGN,
    [':'] = SIGN, ['/'] = SLASH, ['&'] = SIGN, ['%'] = SIGN, ['-'] = BREAKS, ['='] = BREAKS, ['<'] = OPENS, ['['] = OPENS, ['"'] = QUOTE,
    ['\''] = QUOTE, [0x1b] = COLOURS, [0xc2] = SYMBOL, [0xc3] = SYMBOL, [0xe2] = SYMBOL, [0xef] = SYMBOL, [0xf0] = SYMBOL,
};

static size_t spaces_at(const uint8_t *text, size_t length, size_t at) {
    size_t end = at;
    while (end < length && end - at < GLUE_MAX && (text[end] == ' ' || text[end] == '\n')) end++;
    return end - at;
}

/* <b class="x">, </b>, <!-- -->, [b], [size=3]: up to the bracket that closes it. */
static size_t tag_at(const uint8_t *text, size_t length, size_t at) {
    uint8_t closing = text[at] == '<' ? '>' : ']';
    size_t end = at + 1, name;
    if (end < length && (text[end] == '/' || (closing == '>' && text[end] == '!'))) end++;
    for (name = end; end < length && end - name <= NAME_BYTES_MAX && (is_letter(text[end]) || text[end] == '-'); end++) {}
    if (end == name || (closing == ']' && (end - name > NAME_BYTES_MAX || end >= length || (text[end] != closing && text[end] != '=')))) return 0;
    while (end < length && end - at < TAG_BYTES_MAX && text[end] != closing && text[end] != text[at]) end++;
    return end < length && text[end] == closing ? end + 1 - at : 0;
}

/* " + ", ' . ', "": what joins two strings of a program, up to the quotation mark that opens the second. */
static size_t glue_at(const uint8_t *text, size_t length, size_t at) {
    size_t end = at + 1 + spaces_at(text, length, at + 1), signs = 0;
    while (end < length && signs < GLUE_MAX && text[end] && strchr("+.&~,", text[end])) end++, signs++;
    end += spaces_at(text, length, end);
    return end < length && text[end] == text[at] ? end + 1 - at : 0;
}

/* How many bytes stand at a place that may be inside of a word; 0 for none. */
static size_t joint_at(const uint8_t *text, size_t length, size_t at) {
    size_t end = at + 1, taken;
    switch (JOINTS[text[at]]) {
    case SIGN: return 1;
    case SLASH: /* Or a comment. */
        if (end >= length || text[end] != '*') return 1;
        while (++end + 1 < length && end - at < TAG_BYTES_MAX)
            if (text[end] == '*' && text[end + 1] == '/') return end + 2 - at;
        return 1;
    case BREAKS: /* A hyphen at the end of a line, and the end of a line in quoted-printable. */
        if (end < length && text[end] == '\r') end++;
        return end < length && text[end] == '\n' ? end + 1 - at : 1;
    case OPENS: return tag_at(text, length, at);
    case QUOTE: return glue_at(text, length, at);
    case COLOURS:
        if (end >= length || text[end++] != '[') return 0;
        while (end < length && end - at < TAG_BYTES_MAX && (is_digit(text[end]) || text[end] == ';')) end++;
        return end < length && text[end] == 'm' ? end + 1 - at : 0;
    case SYMBOL: return is_symbol(character(text, length, at, &taken)) ? taken : 0;
    default: return 0;
    }
}

typedef struct {
    uint32_t found;
    size_t first;
} Marks;

static void mark(Marks *marks, uint32_t which, size_t at) {
    marks->found |= which;
    if (at < marks->first) marks->first = at;
}

/* -- runs of letters that spell text in base 64, 32 or 16 */

/* Whether a byte can follow in a text: no control character, and what is not ASCII as UTF-8 has it. `*open` is how many bytes of a character
 * are to come; at the beginning nobody knows, and it is negative. */
static int is_text(uint8_t one, int *open) {
    if ((one & 0xc0) == 0x80) {
        if (!*open) return 0;
        *open -= *open > 0;
        return 1;
    }
    if (*open > 0 || one == 0x7f || one >= 0xf5 || (one < 0x20 && one != '\n' && one != '\t' && one != '\r')) return 0;
    *open = one < 0x80 ? 0 : one < 0xe0 ? 1 : one < 0xf0 ? 2 : 3;
    return 1;
}

/* Whether the beginning of a run, read in the base of so many bits, is text. */
static int is_text_in(const uint8_t *run, size_t length, int bits, const int8_t *digits, int only_ascii) {
    uint32_t held = 0;
    size_t count = 0;
    int open = -1, zeros = -1; /* Whether the even or the odd bytes are zeros, as in UTF-16. */
    for (size_t at = 0, have = 0; at < length && count < PROBE_BYTES; at++) {
        int value = digits[run[at]];
        if (value < 0) return 0;
        held = held << bits | (uint32_t)value;
        have += (size_t)bits;
        if (have < 8) continue;
        have -= 8;
        uint8_t byte = (uint8_t)(held >> have);
        int place = count++ & 1;
        if (count <= 2 && byte >= 0xfe) continue; /* The mark of its order. */
        if (!byte && zeros < 0 && count <= 4) zeros = place;
        if (zeros == place ? byte : !is_text(byte, &open)) return 0;
        if (only_ascii && byte >= 0x80) return 0;
    }
    return count >= PROBE_BYTES_MIN;
}

/* Whether a run spells text. A word may stand before it without a space, which moves the grid: each of its places is tried. */
static int spells_text(const uint8_t *run, size_t length, int only_ascii) {
    for (size_t start = 0; start < 4; start++)
        if (is_text_in(run + start, length - start, 6, DIGITS_64, only_ascii) || is_text_in(run + start, length - start, 4, DIGITS_16, only_ascii))
            return 1;
    return is_text_in(run, length, 5, DIGITS_32, only_ascii);
}

static uint8_t rotated(uint8_t one) { return !is_letter(one) ? one : (uint8_t)((one & 0x20) | ('A' + ((one & 0xdf) - 'A' + 13) % 26)); }

/* How a run was turned as a whole that spells text otherwise: 1 for backwards, 2 for thirteen letters further on, 0 where it is none. So many
 * more ways to read it find text by chance where any letter will do, so it has to be ASCII. */
EXPORT uint32_t llmproxy_turned(const uint8_t *run, size_t length) {
    uint8_t turned[TURNED_LETTERS];
    size_t count = length < TURNED_LETTERS ? length : TURNED_LETTERS;
    if (length < TURNED_LETTERS_MIN) return 0;
    for (size_t at = 0; at < count; at++) turned[at] = run[length - 1 - at];
    if (spells_text(turned, count, 1)) return 1;
    for (size_t at = 0; at < count; at++) turned[at] = rotated(run[at]);
    return spells_text(turned, count, 1) ? 2 : 0;
}

/* -- what is not ASCII and not as it seems */

/* Whether a character may hide what stands around it, or be read as another one. `before` and `behind` are its neighbours. */
static int is_disguise(uint32_t one, uint32_t before, uint32_t behind) {
    int beside_latin = (before < 0x80 && is_letter((uint8_t)before)) || (behind < 0x80 && is_letter((uint8_t)behind));
    if (one < 0x250) return one == 0xad || is_in(one, 0x131, 0x133) || one == 0x17f || is_in(one, 0x1c4, 0x1cc) || is_in(one, 0x1f1, 0x1f3);
    if (is_in(one, 0x300, 0x36f)) return one == 0x34f || beside_latin;
    if (one < 0x530) return one < 0x2b0 || beside_latin;
    if (one < 0x1d00)
        return one == 0x61c || one == 0x115f || one == 0x1160 || one == 0x17b4 || one == 0x17b5 || is_in(one, 0x180b, 0x180f);
    if (one < 0x1dc0 || one == 0x1fbe) return 1; /* Small capitals and raised letters. */
    if (is_in(one, 0x200b, 0x200f)) return one == 0x200b || before < 0x600; /* Elsewhere they shape words and pictures. */
    if (one < 0x2100) return is_in(one, 0x202a, 0x202e) || is_in(one, 0x2060, 0x209c) || is_in(one, 0x20d0, 0x20ff);
    if (one < 0x2150) return one != 0x2103 && one != 0x2116 && one != 0x2122 && one != 0x2139;
    if (one < 0xa720) return is_in(one, 0x2160, 0x217f) || is_in(one, 0x2c60, 0x2c7f) || is_in(one, 0x249c, 0x24e9) || is_in(one, 0x2801, 0x283f) || one == 0x3164 || is_in(one, 0x3250, 0x33ff);
    if (one < 0xfb00) return is_in(one, 0xa720, 0xa7ff) || is_in(one, 0xab30, 0xab6f);
    if (one < 0x10000)
        return one < 0xfb07 || (is_in(one, 0xfe00, 0xfe0f) && beside_latin) || one == 0xfeff || is_in(one, 0xff21, 0xff3a) ||
               is_in(one, 0xff41, 0xff5a) || one == 0xffa0 || is_in(one, 0xfff0, 0xfffb);
    if (is_in(one, 0x1f1e6, 0x1f1ff)) return is_in(before, 0x1f1e6, 0x1f1ff) && is_in(behind, 0x1f1e6, 0x1f1ff); /* Two are a flag. */
    return is_in(one, 0x1bca0, 0x1bca3) || is_in(one, 0x1d173, 0x1d17a) || is_in(one, 0x1d400, 0x1d7ff) ||
           is_in(one, 0x1f110, 0x1f190) || is_in(one, 0x10780, 0x107ba) || is_in(one, 0xe0000, 0xe0fff);
}

/* -- escapes, runs of code, letters apart */

/* Whether a word is base 64 of text in ASCII, and nothing else. `behind`: what stands behind it. */
static int is_code_word(const uint8_t *word, size_t length, uint8_t behind) {
    uint32_t held = 0;
    if (length < 4 || length % 4 == 1 || (length % 4 && behind != '=')) return 0;
    for (size_t at = 0, have = 0; at < length; at++) {
        held = held << 6 | (uint32_t)DIGITS_64[word[at]], have += 6;
        if (have < 8) continue;
        have -= 8;
        uint8_t byte = (uint8_t)(held >> have);
        if ((byte < 0x20 && byte != '\n') || byte >= 0x7f) return 0;
    }
    return 1;
}

/* Where the letter of Morse's code begins that ends before `at`; `at` for none. */
static size_t morse_before(const uint8_t *text, size_t at) {
    size_t from = at;
    while (from && at - from <= MORSE_SIGNS_MAX && (text[from - 1] == '.' || text[from - 1] == '-')) from--;
    return at - from <= MORSE_SIGNS_MAX && (!from || strchr(" /\n\"'", text[from - 1])) ? from : at;
}

/* =69 of quoted-printable, where it is a letter. */
static int is_quoted(const uint8_t *text, size_t length, size_t at) {
    if (at + 2 >= length || (uint8_t)(text[at + 1] - '4') > 3 || !is_hex(text[at + 2])) return 0;
    return at + 3 >= length || !is_digit(text[at + 3]);
}

/* What may stand one after the other: how many there were, where the first began, and where the last ended. */
typedef struct {
    size_t count, first, end;
} Row;

static inline void add_to(Row *row, size_t at, size_t end, size_t apart_max) {
    if (!row->count || at - row->end > apart_max) row->count = 0, row->first = at;
    row->count++, row->end = end;
}

/* Letters that stand alone, one after the other. */
typedef struct {
    size_t letters, singles, at, apart; /* Of the word, words of one letter, where they begin, and characters since the last letter. */
    size_t accents;                     /* Letters of the word with marks on them. */
} Chain;

static inline void add_letters(Chain *chain, size_t count, size_t at) {
    if (!chain->letters && !chain->singles) chain->at = at;
    chain->letters += count, chain->apart = 0;
}

static inline void end_word(Chain *chain, Marks *marks) {
    if (chain->letters == 1 && chain->singles + 1 >= SINGLES_MIN) mark(marks, SPACED, chain->at);
    if (chain->letters > 1 || ++chain->apart > APART_MAX) chain->singles = 0;
    else chain->singles += chain->letters == 1;
    chain->letters = chain->accents = 0;
}

/* Whether a Latin letter with a mark on it, as one character, is one of so many in its word that no language writes it. */
static inline int is_overdone(Chain *chain, uint32_t one) {
    if (!(is_in(one, 0xc0, 0x24f) || is_in(one, 0x1e00, 0x1eff))) return 0;
    return ++chain->accents >= ACCENTS_MIN && 2 * chain->accents >= chain->letters;
}

static void mark_bytes(const uint8_t *text, size_t length, Marks *marks) {
    size_t run = 0, pairs = 0, pair_end = 0, codes = length;
    Chain chain = {0};
    Row words = {0}, digits = {0}, morse = {0}, quoted = {0};
    uint32_t before = 0; /* The character before one that is not ASCII. */
    for (size_t at = 0; at <= length; at++) {
        size_t from = at;
        while (at < length && is_letter(text[at])) at++;
        if (at > from) {
            add_letters(&chain, at - from, from);
            run += at - from;
            before = text[at - 1];
        }
        uint8_t one = at < length ? text[at] : 0;
        if (is_digit(one) || is_code_sign(one)) {
            run++;
        } else {
            if (run >= RUN_BYTES_MIN && !(marks->found & RUN) && (spells_text(text + at - run, run, 0) || llmproxy_turned(text + at - run, run)))
                mark(marks, RUN, at - run);
            if (run && (run % 4 == 0 || one == '=') && is_code_word(text + at - run, run, one)) {
                add_to(&words, at - run, at, CODE_WORDS_APART_MAX);
                if (words.count >= CODE_WORDS_MIN) mark(marks, RUN, words.first);
            }
            run = 0;
        }
        if (one >= 0x80) {
            size_t taken, next;
            uint32_t found = character(text, length, at, &taken);
            uint32_t behind = at + taken < length ? character(text, length, at + taken, &next) : 0;
            if (one >= 0xc0 && is_symbol(found)) end_word(&chain, marks);
            else if (one >= 0xc0) add_letters(&chain, 1, at); /* A letter of any script. */
            if (!(marks->found & FOLD) && (is_overdone(&chain, found) || is_disguise(found, before, behind))) mark(marks, FOLD, at);
            before = found;
            at += taken - 1;
            continue;
        }
        before = one;
        if (is_digit(one)) {
            chain.letters += chain.letters > 0; /* Ends no chain, and is none. */
            add_to(&digits, at, at, DIGITS_APART_MAX);
            if (digits.count >= DIGITS_MIN && codes == length) codes = digits.first;
        } else if (one == '@' || one == '$') add_letters(&chain, 1, at); /* Read as one. */
        else end_word(&chain, marks);
        if (one == ' ' || one == ',' || one == ':') {
            if (at && (text[at - 1] == '.' || text[at - 1] == '-')) {
                size_t begin = morse_before(text, at);
                if (begin < at) add_to(&morse, begin, at, MORSE_APART_MAX);
                if (morse.count >= MORSE_MIN) mark(marks, CODES, morse.first);
            }
            if (at < 2 || !is_hex(text[at - 1]) || !is_hex(text[at - 2])) continue;
            pairs = pairs && pair_end + 3 == at ? pairs + 1 : 1; /* 69 67 6e */
            pair_end = at;
            if (pairs >= PAIRS_MIN) mark(marks, RUN, at + 1 - 3 * pairs);
        } else if (one == '\\' && is_escape(text, length, at)) mark(marks, ESCAPE, at);
        else if (one == '&' && is_entity(text, length, at)) mark(marks, ENTITY, at);
        else if (one == '%' && is_percent(text, length, at)) mark(marks, PERCENT, at);
        else if (one == '=' && is_quoted(text, length, at)) {
            add_to(&quoted, at, at, QUOTED_APART_MAX);
            if (quoted.count >= QUOTED_MIN) mark(marks, QUOTED, quoted.first);
        }
    }
    if (codes < length && (codes = first_codes(text, length, codes)) < length) mark(marks, CODES, codes);
}

/* -- letters that follow each other as they do backwards, or thirteen further on */

static int larger(int one, int other) { return one > other ? one : other; }

/* Two running sums that never fall below nothing: each is the evidence of the stretch that ends here, and starts anew where there is none.
 * Returns how much there was of either at most, and in `*where` the block of that. */
static int mark_turned(const uint8_t *text, size_t length, Marks *marks, size_t *where) {
    int backwards = 0, rotated = 0, oddest = 0;
    unsigned before = NO_LETTER;
    *where = 0;
    for (size_t block = 0; block < length; block += BLOCK) {
        int most_backwards = 0, most_rotated = 0;
        size_t end = length - block < BLOCK ? length : block + BLOCK;
        for (size_t at = block; at < end; at++) {
            unsigned one = LETTER[text[at]];
            backwards = larger(0, backwards + BACKWARDS[before][one]);
            rotated = larger(0, rotated + ROTATED[before][one]);
            most_backwards = larger(most_backwards, backwards);
            most_rotated = larger(most_rotated, rotated);
            before = one;
        }
        if (most_backwards >= SURE) mark(marks, REVERSED, block < BLOCK ? 0 : block - BLOCK);
        if (most_rotated >= SURE) mark(marks, ROT13, block < BLOCK ? 0 : block - BLOCK);
        if (larger(most_backwards, most_rotated) > oddest) oddest = larger(most_backwards, most_rotated), *where = block;
    }
    return oddest;
}

/* -- other alphabets: letters that are all so many further on, or counted from the end */

/* How much commoner a letter is in English than if all were as common, in eighths of the logarithm to base 2. */
static const int8_t COMMON[NO_LETTER] = {9, -11, -4, 1, 14, -6, -7, 5, 7, -24, -19, 1, -5, 6, 8, -8, -24, 5, 6, 10, -4, -16, -6, -24, -8, -24};

/* By how many letters those of a part of a text are further on (1 to 25; MIRRORED: they are counted from the end) if that makes it thousands of times
 * likelier; 0 if nothing does. `counts`: how often it has each of them. */
static uint32_t alphabet_of(const int counts[LETTERS]) {
    int letters = 0, best = 0;
    uint32_t found = 0;
    for (unsigned one = 0; one < NO_LETTER; one++) letters += counts[one], best += counts[one] * COMMON[one];
    if (letters < CIPHER_LETTERS_MIN || best > letters * SURE_EACH) return 0;
    best += larger(ODD, letters * SURE_EACH);
    for (uint32_t shift = 1; shift <= MIRRORED; shift++) {
        int sum = 0;
        for (unsigned one = 0; one < NO_LETTER; one++)
            sum += counts[one] * COMMON[shift == MIRRORED ? NO_LETTER - 1 - one : (one + NO_LETTER - shift) % NO_LETTER];
        if (sum > best) best = sum, found = shift;
    }
    return found;
}

/* The same of a stretch that is odd, with as much of what stands around it as gives a result; and in `*first` where that begins. */
static uint32_t alphabet_around(const uint8_t *text, size_t length, int oddest, size_t where, size_t *first) {
    int counts[LETTERS] = {0};
    size_t counted = length - where < 2 * BLOCK ? length : where + 2 * BLOCK; /* From there on. */
    if (oddest < ODD) return 0;
    for (size_t back = 0; back <= 3 * BLOCK; back += BLOCK / 2) {
        *first = where + BLOCK / 2 < back ? 0 : where + BLOCK / 2 - back;
        while (counted > *first) counts[LETTER[text[--counted]]]++;
        uint32_t found = alphabet_of(counts);
        if (found) return found;
    }
    return 0;
}

/* -- words of the lexicon, spelt otherwise */

typedef struct {
    size_t start, letters, signs; /* Bytes that are read as letters, and those of them that are none. */
    uint32_t key;
} Part;

/* Whether the bytes read as the word; joints between them do not count. */
static int reads_as(const Lexicon *lexicon, const uint8_t *text, size_t start, size_t end, const uint8_t *word, uint32_t length) {
    uint32_t letters = 0;
    for (size_t at = start; at < end; at++) {
        uint8_t read = lexicon->read[text[at]];
        if (!read) {
            size_t joint = joint_at(text, end, at);
            at += joint ? joint - 1 : 0;
            continue;
        }
        if (letters == length || (read != word[letters] && !(text[at] == '1' && word[letters] == 'l'))) return 0;
        letters++;
    }
    return letters == length;
}

static int is_same(const uint8_t *text, const uint8_t *word, uint32_t length) {
    for (uint32_t at = 0; at < length; at++)
        if ((text[at] | 0x20) != word[at]) return 0;
    return 1;
}

/* Whether the bytes are the word with two neighbours swapped. */
static int is_swapped(const uint8_t *text, size_t start, const uint8_t *word, uint32_t length) {
    uint32_t at = 0;
    while (at < length && (text[start + at] | 0x20) == word[at]) at++;
    if (at + 1 >= length || (text[start + at] | 0x20) != word[at + 1] || (text[start + at + 1] | 0x20) != word[at]) return 0;
    for (at += 2; at < length; at++)
        if ((text[start + at] | 0x20) != word[at]) return 0;
    return 1;
}

/* Whether the bytes are the word but for one letter inside that is wrong, missing or too many. Its first and last letter tell it from its
 * own inflections. */
static int is_one_off(const uint8_t *text, size_t letters, const uint8_t *word, size_t length) {
    size_t at = 0;
    if (letters + 1 < length || letters > length + 1 || (text[letters - 1] | 0x20) != word[length - 1]) return 0;
    while (at < letters && at < length && (text[at] | 0x20) == word[at]) at++;
    size_t rest = at + (letters >= length), other = at + (length >= letters);
    if (!at || rest > letters || other > length) return 0;
    for (; rest < letters; rest++, other++)
        if ((text[rest] | 0x20) != word[other]) return 0;
    return 1;
}

static uint32_t anchor(const Lexicon *lexicon, const uint8_t *text, const Part *part) {
    uint32_t first = LETTER[text[part->start]];
    if (first >= NO_LETTER) return ~0u;
    for (uint32_t one = lexicon->begins[first]; one < lexicon->begins[first + 1]; one++) {
        uint32_t place = lexicon->anchors[one];
        if (is_one_off(text + part->start, part->letters, lexicon->letters + (place >> 5), place & 31)) return place;
    }
    return ~0u;
}

/* The word that a part of a text is meant to be: its place, and in `*how` the mark; 0 marks for the word itself. ~0 for none. */
static uint32_t meant(const Lexicon *lexicon, const uint8_t *text, const Part *part, size_t end, int joints, uint32_t *how) {
    uint32_t swapped = ~0u;
    *how = 0;
    if (part->letters < (joints || part->signs ? WORD_LETTERS_MIN : TYPO_LETTERS_MIN)) return ~0u;
    for (uint32_t slot = part->key & lexicon->mask; lexicon->keys[slot]; slot = (slot + 1) & lexicon->mask) {
        if (lexicon->keys[slot] != part->key) continue;
        const uint8_t *word = lexicon->letters + (lexicon->places[slot] >> 5);
        uint32_t length = lexicon->places[slot] & 31;
        if (length != part->letters) continue;
        if (!joints && !part->signs && is_same(text + part->start, word, length)) return lexicon->places[slot];
        if ((joints || part->signs) && reads_as(lexicon, text, part->start, end, word, length)) {
            *how = part->signs == part->letters ? (joints ? 0 : NUMBER) : joints ? JOINED : part->signs ? LEET : 0;
            return lexicon->places[slot];
        }
        if (!joints && !part->signs && length >= TYPO_LETTERS_MIN && is_swapped(text, part->start, word, length))
            swapped = lexicon->places[slot];
    }
    if (swapped == ~0u && !joints && !part->signs) swapped = anchor(lexicon, text, part);
    if (swapped != ~0u) *how = TYPO;
    return swapped;
}

/* Goes through the words of a text. Marks those that are spelt otherwise; where `out` is given, copies the text with them spelt right.
 * A word of five letters or more gets one letter longer at most. Returns how many bytes were written. */
static size_t spell(const Lexicon *lexicon, const uint8_t *text, size_t length, uint8_t *out, Marks *marks) {
    Part part = {0}, whole = {0};
    size_t joints = 0, joined = 0, to = 0, part_to = 0, whole_to = 0; /* `joined`: joints since the last letter. */
    for (size_t at = 0; at <= length; at++) {
        uint32_t key = 0;
        size_t from = at;
        while (at < length && is_letter(text[at])) key += lexicon->weights[text[at++]];
        if (at > from) {
            if (!part.letters) part.start = from, part_to = to;
            if (!whole.letters) whole.start = from, whole_to = to;
            part.letters += at - from, part.key += key;
            whole.letters += at - from, whole.key += key;
            joined = 0;
            if (out) memcpy(out + to, text + from, at - from), to += at - from;
        }
        uint8_t one = at < length ? text[at] : 0;
        uint8_t read = lexicon->read[one];
        if (read && is_sign(one) && (at + 1 >= length || !lexicon->read[text[at + 1]] || is_sign(text[at + 1]))) read = 0;
        if (read) {
            if (!part.letters) part.start = at, part_to = to;
            if (!whole.letters) whole.start = at, whole_to = to;
            part.letters++, part.signs++, part.key += lexicon->weights[one];
            whole.letters++, whole.signs++, whole.key += lexicon->weights[one];
            joined = 0;
            if (out) out[to++] = one;
            continue;
        }
        uint32_t how, place;
        if (part.letters) {
            place = meant(lexicon, text, &part, at, 0, &how);
            if (how) {
                if (how != NUMBER) mark(marks, how, part.start);
                if (out) {
                    memcpy(out + part_to, lexicon->letters + (place >> 5), place & 31);
                    to = part_to + (place & 31);
                }
            }
            part = (Part){0};
        }
        size_t joint = !JOINTS[one] || !whole.letters || joined >= JOINTS_MAX ? 0 : JOINTS[one] == SIGN ? 1 : joint_at(text, length, at);
        if (joint) {
            joints += !joined++;
        } else if (whole.letters) {
            if (joints > (joined > 0)) {
                place = meant(lexicon, text, &whole, at, 1, &how);
                if (how) {
                    mark(marks, how, whole.start);
                    if (out) {
                        memcpy(out + whole_to, lexicon->letters + (place >> 5), place & 31);
                        to = whole_to + (place & 31);
                    }
                }
            }
            whole = (Part){0};
            joints = joined = 0;
        }
        if (joint > 1) {
            if (out) memcpy(out + to, text + at, joint), to += joint;
            at += joint - 1;
        } else if (out && at < length) out[to++] = one;
    }
    return to;
}

/* The marks in a text, as bits; `*first` is where the first of them begins, or the length. */
EXPORT uint32_t llmproxy_marks(const Lexicon *lexicon, const uint8_t *text, size_t length, size_t *first) {
    Marks marks = {0, length};
    size_t where, from;
    mark_bytes(text, length, &marks);
    int oddest = mark_turned(text, length, &marks, &where);
    if (alphabet_around(text, length, oddest, where, &from)) mark(&marks, CIPHER, from);
    spell(lexicon, text, length, NULL, &marks);
    *first = marks.first;
    return marks.found;
}

/* The text with the words of the lexicon spelt right. `out` has room for `length` bytes and a fifth of them. Returns how many were written. */
EXPORT size_t llmproxy_respelt(const Lexicon *lexicon, const uint8_t *text, size_t length, uint8_t *out) {
    Marks marks = {0, length};
    return spell(lexicon, text, length, out, &marks);
}

/* By how many letters those of a text are further on: 1 to 25; 26 where they are counted from the end, 0 where they are as they seem. */
EXPORT uint32_t llmproxy_alphabet(const uint8_t *text, size_t length) {
    Marks marks = {0, length};
    size_t where, from;
    int oddest = mark_turned(text, length, &marks, &where);
    return alphabet_around(text, length, oddest, where, &from);
}
