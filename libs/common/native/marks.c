/* What in a text gives reason to look for something hidden in it, in one pass; and words of a lexicon, spelt right. The bits are those of
 * views.Hint. */
#include "digits.h"
#include "letters.h"
#include "native.h"
#include <string.h>

enum {
    ESCAPE = 1, PERCENT = 2, ENTITY = 4, FOLD = 8, RUN = 16, SPACED = 32, JOINED = 64, LEET = 128, ROT13 = 256, REVERSED = 512, TYPO = 1024,
    NUMBER = 1 << 30, /* What is all digits may be a word, where others are. */
};
enum {
    RUN_BYTES_MIN = 16,
    PAIRS_MIN = 8,
    PROBE_BYTES = 18,     /* Of a run are decoded, to see whether it is text. */
    PROBE_BYTES_MIN = 6,  /* What a run of 16 letters in base 16 has, beginning with the fourth. */
    ENTITY_LETTERS_MAX = 8,
    SINGLES_MIN = 4,      /* Letters standing alone, one after the other, */
    APART_MAX = 3,        /* with so many other bytes between them at most. */
    WORD_LETTERS_MIN = 3, /* Of the lexicon. */
    TYPO_LETTERS_MIN = 5, /* Shorter words are often one swap away from another. */
    JOINT_BYTES_MAX = 4,  /* Between two parts of a word. */
    BLOCK = 64,           /* Bytes; a stretch that is sure began in the block before at the latest, or soon will have. */
    SURE = 20 * 8,        /* A stretch of text is a million times likelier when it is turned. */
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
static int is_joint(uint8_t one) { return one == '.' || one == '_' || one == '*' || one == '~' || one == '`' || one == '|' || one == '-'; }
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

/* &#105; &quot; */
static int is_entity(const uint8_t *text, size_t length, size_t at) {
    size_t letters = 0;
    if (++at < length && text[at] == '#') return 1;
    while (at < length && letters <= ENTITY_LETTERS_MAX && is_letter(text[at])) at++, letters++;
    return letters >= 2 && letters <= ENTITY_LETTERS_MAX && at < length && text[at] == ';';
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
static int is_text_in(const uint8_t *run, size_t length, int bits, const int8_t *digits) {
    uint32_t held = 0;
    size_t count = 0;
    int open = -1;
    for (size_t at = 0, have = 0; at < length && count < PROBE_BYTES; at++) {
        int value = digits[run[at]];
        if (value < 0) return 0;
        held = held << bits | (uint32_t)value;
        have += (size_t)bits;
        if (have < 8) continue;
        have -= 8, count++;
        if (!is_text((uint8_t)(held >> have), &open)) return 0;
    }
    return count >= PROBE_BYTES_MIN;
}

/* Whether a run spells text. A word may stand before it without a space, which moves the grid: each of its places is tried. */
static int spells_text(const uint8_t *run, size_t length) {
    for (size_t start = 0; start < 4; start++)
        if (is_text_in(run + start, length - start, 6, DIGITS_64) || is_text_in(run + start, length - start, 4, DIGITS_16)) return 1;
    return is_text_in(run, length, 5, DIGITS_32);
}

/* -- what is not ASCII and not as it seems */

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

static int is_in(uint32_t one, uint32_t from, uint32_t to) { return one - from <= to - from; }

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
    if (one < 0xa720) return is_in(one, 0x2160, 0x217f) || is_in(one, 0x2c60, 0x2c7f) || is_in(one, 0x249c, 0x24e9) || one == 0x3164 || is_in(one, 0x3250, 0x33ff);
    if (one < 0xfb00) return is_in(one, 0xa720, 0xa7ff) || is_in(one, 0xab30, 0xab6f);
    if (one < 0x10000)
        return one < 0xfb07 || (is_in(one, 0xfe00, 0xfe0f) && beside_latin) || one == 0xfeff || is_in(one, 0xff21, 0xff3a) ||
               is_in(one, 0xff41, 0xff5a) || one == 0xffa0 || is_in(one, 0xfff0, 0xfffb);
    if (is_in(one, 0x1f1e6, 0x1f1ff)) return is_in(before, 0x1f1e6, 0x1f1ff) && is_in(behind, 0x1f1e6, 0x1f1ff); /* Two are a flag. */
    return is_in(one, 0x1bca0, 0x1bca3) || is_in(one, 0x1d173, 0x1d17a) || is_in(one, 0x1d400, 0x1d7ff) ||
           is_in(one, 0x1f110, 0x1f190) || is_in(one, 0x10780, 0x107ba) || is_in(one, 0xe0000, 0xe0fff);
}

/* -- escapes, runs of code, letters apart */

static void mark_bytes(const uint8_t *text, size_t length, Marks *marks) {
    size_t run = 0, pairs = 0, pair_end = 0, singles = 0, single_at = 0, letters = 0, apart = 0;
    uint32_t before = 0; /* The character before one that is not ASCII. */
    for (size_t at = 0; at <= length; at++) {
        size_t from = at;
        while (at < length && is_letter(text[at])) at++;
        if (at > from) {
            if (!letters && !singles) single_at = from;
            letters += at - from, run += at - from, apart = 0;
            before = text[at - 1];
        }
        uint8_t one = at < length ? text[at] : 0;
        if (is_digit(one) || is_code_sign(one)) {
            run++;
        } else {
            if (run >= RUN_BYTES_MIN && !(marks->found & RUN) && spells_text(text + at - run, run)) mark(marks, RUN, at - run);
            run = 0;
        }
        if (one >= 0xc0 || one == '@' || one == '$') { /* A letter of any script, or what is read as one. */
            if (!letters && !singles) single_at = at;
            letters++, apart = 0;
        } else if (is_digit(one)) {
            letters += letters > 0; /* Ends no chain, and is none. */
        } else if (one < 0x80) {
            if (letters == 1 && singles + 1 >= SINGLES_MIN) mark(marks, SPACED, single_at);
            if (letters > 1 || ++apart > APART_MAX) singles = 0;
            else singles += letters == 1;
            letters = 0;
        }
        if (one >= 0x80) {
            if (marks->found & FOLD) continue;
            size_t taken, next;
            uint32_t found = character(text, length, at, &taken);
            uint32_t behind = at + taken < length ? character(text, length, at + taken, &next) : 0;
            if (is_disguise(found, before, behind)) mark(marks, FOLD, at);
            before = found;
            at += taken - 1;
            continue;
        }
        before = one;
        if (one == ' ' || one == ',' || one == ':') {
            if (at < 2 || !is_hex(text[at - 1]) || !is_hex(text[at - 2])) continue;
            pairs = pairs && pair_end + 3 == at ? pairs + 1 : 1; /* 69 67 6e */
            pair_end = at;
            if (pairs >= PAIRS_MIN) mark(marks, RUN, at + 1 - 3 * pairs);
        } else if (one == '\\' && is_escape(text, length, at)) mark(marks, ESCAPE, at);
        else if (one == '&' && is_entity(text, length, at)) mark(marks, ENTITY, at);
        else if (one == '%' && at + 2 < length && is_hex(text[at + 1]) && is_hex(text[at + 2])) mark(marks, PERCENT, at);
    }
}

/* -- letters that follow each other as they do backwards, or thirteen further on */

static int larger(int one, int other) { return one > other ? one : other; }

/* Two running sums that never fall below nothing: each is the evidence of the stretch that ends here, and starts anew where there is none. */
static void mark_turned(const uint8_t *text, size_t length, Marks *marks) {
    int backwards = 0, rotated = 0;
    unsigned before = NO_LETTER;
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
    }
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
        if (!read) continue;
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
    size_t joints = 0, joint_bytes = 0, to = 0, part_to = 0, whole_to = 0;
    for (size_t at = 0; at <= length; at++) {
        uint32_t key = 0;
        size_t from = at;
        while (at < length && is_letter(text[at])) key += lexicon->weights[text[at++]];
        if (at > from) {
            if (!part.letters) part.start = from, part_to = to;
            if (!whole.letters) whole.start = from, whole_to = to;
            part.letters += at - from, part.key += key;
            whole.letters += at - from, whole.key += key;
            joint_bytes = 0;
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
            joint_bytes = 0;
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
        if (whole.letters && is_joint(one) && joint_bytes < JOINT_BYTES_MAX) {
            joints += !joint_bytes++;
        } else if (whole.letters) {
            if (joints > (joint_bytes > 0)) {
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
            joints = joint_bytes = 0;
        }
        if (out && at < length) out[to++] = one;
    }
    return to;
}

/* The marks in a text, as bits; `*first` is where the first of them begins, or the length. */
EXPORT uint32_t llmproxy_marks(const Lexicon *lexicon, const uint8_t *text, size_t length, size_t *first) {
    Marks marks = {0, length};
    mark_bytes(text, length, &marks);
    mark_turned(text, length, &marks);
    spell(lexicon, text, length, NULL, &marks);
    *first = marks.first;
    return marks.found;
}

/* The text with the words of the lexicon spelt right. `out` has room for `length` bytes and a fifth of them. Returns how many were written. */
EXPORT size_t llmproxy_respelt(const Lexicon *lexicon, const uint8_t *text, size_t length, uint8_t *out) {
    Marks marks = {0, length};
    return spell(lexicon, text, length, out, &marks);
}
