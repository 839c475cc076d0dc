/* What all files of the native library agree on (docs/adr/0017): a function is pure and total. It reads only between a pointer and its
 * length, writes only what the caller owns and within its bounds, allocates nothing, keeps nothing, and gives a value for every input. */
#ifndef LLMPROXY_NATIVE_H
#define LLMPROXY_NATIVE_H

#include <stddef.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

static inline int is_digit(uint8_t one) { return one >= '0' && one <= '9'; }
static inline int is_letter(uint8_t one) { return (uint8_t)((one | 0x20) - 'a') < 26; }
static inline int is_hex(uint8_t one) { return is_digit(one) || (uint8_t)((one | 0x20) - 'a') < 6; }

static inline void lowered(uint8_t *into, const uint8_t *text, size_t length) {
    for (size_t at = 0; at < length; at++) into[at] = (uint8_t)(text[at] + ((uint8_t)(text[at] - 'A') < 26) * 0x20);
}

/* -- what more than one file knows */

typedef struct Lexicon Lexicon; /* marks.c */
typedef struct Model Model;     /* windows.c */
typedef struct Words Words;     /* words.c */
typedef struct Literals Literals; /* candidates.c */
typedef struct Vocabulary Vocabulary; /* passages.c */
typedef struct Grams Grams;           /* said.c */
typedef struct First First;           /* sweep.c */
typedef struct Glance Glance;         /* The same. */
typedef struct Firewall Firewall;     /* glance.c */
typedef struct New New;               /* The same. */

typedef struct {
    float score; /* The sum of its weights over the root of their number, or of a least number. */
    uint32_t start, end;
    float others;     /* The mean score of all other windows of the text; 0 when there are none. */
    uint32_t windows; /* How many it has. */
    float whole;      /* The score of all features of the text, each once, by the weights of texts. */
} Window;

typedef struct {
    uint32_t thing, start, end;
} Candidate;

typedef struct {
    uint32_t spent;     /* Words seen. */
    uint32_t exhausted; /* Whether there was more than was looked at. */
} Search;

/* A text that was clear to the injection model, and the bits that candidates.c has found in it. */
typedef struct {
    uint32_t digest[3]; /* Never all zero: that is an empty place. */
    uint32_t bits;
} Memory;

typedef struct {
    Memory *rows; /* [mask + 1][4] */
    uint32_t mask;
} Recent;

/* Room for candidates, and words to be found. */
typedef struct {
    Candidate *candidates;
    uint32_t candidates_left, words_left;
} Room;

/* A first look at the texts of a request, under way. */
typedef struct {
    uint32_t bits, open; /* What they may hold, and how many are to be weighed. */
    Glance *next;
    Room room;
} FirstLook;

/* SipHash-2-4 with 128 bits of a text, under way: of what it begins with. */
typedef struct {
    uint64_t a, b, c, d;
    size_t taken;
} Digesting;

Digesting digesting(const uint8_t *key); /* It has 16 bytes. */
Memory memory_up_to(Digesting *under_way, const uint8_t *text, size_t length); /* Of the first bytes, at least as many as the last time. Without bits. */
Memory memory_of(const uint8_t *key, const uint8_t *text, size_t length); /* The same of all of a text. */
int is_remembered(const Recent *recent, Memory *one);                     /* Its bits are then filled in. */
void remember(const Recent *recent, const Memory *one);

size_t first_codes(const uint8_t *text, size_t length, size_t from); /* codes.c */
size_t llmproxy_plain(const uint8_t *text, size_t length, uint8_t *plain); /* plain.c */
int llmproxy_may_carry_files(const uint8_t *json, size_t length); /* files.c */
size_t llmproxy_keys(const uint8_t *json, size_t length); /* keys.c */
int llmproxy_keys_repeat(const uint8_t *json, size_t length);
int llmproxy_glance(const Firewall *by, const uint8_t *key, const uint8_t *body, size_t length, New *out); /* glance.c */
int llmproxy_may_say(const Vocabulary *of, const uint8_t *text, size_t length); /* passages.c */
FirstLook first_look_begins(void *out, uint32_t count, uint32_t words_max, uint32_t candidates_max); /* sweep.c */
void look_first(FirstLook *look, const First *by, const uint8_t *key, const uint8_t *text, size_t length);
uint32_t llmproxy_candidates(const Literals *literals, const uint8_t *text, size_t length);
uint32_t llmproxy_marks(const Lexicon *lexicon, const uint8_t *text, size_t length, size_t *first);
int llmproxy_worst_window(const Model *model, const uint8_t *text, size_t length, Window *worst);
uint32_t find_near(const Words *words, const uint8_t *text, size_t length, uint32_t reach, uint32_t words_max, uint32_t max, Search *search,
                   Candidate *candidates);

#endif
