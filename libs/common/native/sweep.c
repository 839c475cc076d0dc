/* What the injection guard wants to know of every text of a request, in one call: whether something is hidden in it, how suspicious its windows
 * are, and which signatures may be in it. To be called from Python costs as much as a hundred bytes of a text do here. */
#include "native.h"
#include <string.h>

enum {
    BORDER = 0xff,      /* Between two texts: a byte that UTF-8 does not have. */
    BYTES_MAX = 1 << 13, /* Of a text: words further apart are not about each other, and a longer one is looked through in pieces. */
    ENOUGH_BYTES = 12, ENOUGH_CHARACTERS = 4, /* Of a text in ASCII, and of any other: less is no order. As guards.injection. */
    REMEMBERED_BYTES_MIN = 32, /* A shorter text is read as quickly as its digest is made. */
};

typedef struct {
    const Lexicon *lexicon;
    const Model *model;
    const Words *words;
    uint32_t reach;
} Sweeping;

/* What was seen of one text. */
typedef struct {
    uint32_t is_apart; /* Nothing was: it hides something, or has more in it than one pass tells. It is to be looked at by itself. */
    Window worst;      /* Without a word: minus infinity. */
    uint32_t candidates; /* How many, behind those of the texts before. */
} Seen;

/* From here to there: a text, or texts. */
typedef struct {
    const uint8_t *at, *end;
} Part;

static inline size_t length_of(Part part) { return (size_t)(part.end - part.at); }

/* Takes the next text off. */
static Part next_text(Part *rest) {
    const uint8_t *border = length_of(*rest) ? memchr(rest->at, BORDER, length_of(*rest)) : 0;
    Part text = {rest->at, border ? border : rest->end};
    rest->at = border ? border + 1 : rest->end;
    return text;
}

static Seen see(const Sweeping *by, Part text, Part folded, Part lower, Room *room) {
    static const Seen APART = {.is_apart = 1};
    Seen seen = {.worst = {.score = -__builtin_inff()}};
    Search search;
    size_t first;
    if (llmproxy_marks(by->lexicon, text.at, length_of(text), &first)) return APART;
    if (!llmproxy_worst_window(by->model, folded.at, length_of(folded), &seen.worst)) return seen;
    seen.candidates = find_near(by->words, lower.at, length_of(lower), by->reach, room->words_left, room->candidates_left, &search, room->candidates);
    if (search.exhausted) return APART;
    room->words_left -= search.spent;
    room->candidates_left -= seen.candidates;
    room->candidates += seen.candidates;
    return seen;
}

/* `count` texts with a BORDER between them: as they are, without accents, and in lower case, where `folded` and `lower` are not null; they are
 * where all is ASCII. Candidates follow what was seen of the texts, `candidates_max` at most, and there are `words_max` words at most; texts with
 * more are apart. Returns how many words there were. */
EXPORT uint32_t llmproxy_sweep(const Sweeping *by, uint32_t count, const uint8_t *texts, size_t length, const uint8_t *folded, size_t folded_length,
                               const uint8_t *lower, size_t lower_length, uint32_t words_max, uint32_t candidates_max, Seen *seen) {
    uint8_t own[BYTES_MAX];
    Part rest = {texts, texts + length}, rest_folded = {folded, folded + folded_length}, rest_lower = {lower, lower + lower_length};
    Room room = {(Candidate *)(void *)(seen + count), candidates_max, words_max};
    for (uint32_t one = 0; one < count; one++) {
        Part text = next_text(&rest), without_accents, in_lower;
        size_t size = length_of(text);
        if (folded && lower) {
            without_accents = next_text(&rest_folded), in_lower = next_text(&rest_lower);
            if (length_of(in_lower) > size) size = length_of(in_lower);
        } else {
            lowered(own, text.at, size <= BYTES_MAX ? size : 0);
            without_accents = in_lower = (Part){own, own + size};
        }
        seen[one] = size <= BYTES_MAX ? see(by, text, without_accents, in_lower, &room) : (Seen){.is_apart = 1};
    }
    return words_max - room.words_left;
}

/* -- the first look at the texts of a request */

/* A text without signatures is of no interest to anybody if its worst window and `weight` of all of it, or of `least`, are below. */
typedef struct {
    double below, weight, least;
} Quiet;

static int is_quiet(const Quiet *by, const Window *worst) {
    return worst->score + by->weight * (worst->whole > by->least ? worst->whole : by->least) < by->below;
}

struct First {
    const Sweeping *sweeping;
    const Literals *literals;
    Recent recent;
    Quiet quiet;
};

/* Of one text. */
struct Glance {
    Memory memory;    /* Its digest (of a short one all zeros) and the bits of candidates.c. */
    uint32_t is_open; /* Whether it is to be weighed: what was seen of it follows. */
    Seen seen;
};

static int is_ascii(Part text) {
    uint8_t all = 0;
    for (const uint8_t *at = text.at; at < text.end; at++) all |= *at;
    return all < 0x80;
}

static int is_enough(Part text, int ascii) {
    size_t characters = 0;
    if (ascii) return length_of(text) >= ENOUGH_BYTES;
    for (const uint8_t *at = text.at; at < text.end && characters < ENOUGH_CHARACTERS; at++) characters += (*at & 0xc0) != 0x80;
    return characters >= ENOUGH_CHARACTERS;
}

/* Whether the text is clear to the injection model; `seen` says more of one that is not. What is not ASCII is for the caller to fold. */
static int is_clear(const First *by, Part text, Room *room, Seen *seen) {
    uint8_t own[BYTES_MAX];
    int ascii = is_ascii(text);
    *seen = (Seen){.is_apart = 1};
    if (!is_enough(text, ascii)) return 1;
    if (!ascii || length_of(text) > BYTES_MAX) return 0;
    lowered(own, text.at, length_of(text));
    Part lower = {own, own + length_of(text)};
    *seen = see(by->sweeping, text, lower, lower, room);
    return !seen->is_apart && !seen->candidates && is_quiet(&by->quiet, &seen->worst);
}

/* At `count` texts. `out` has room for a Glance for each, then candidates, `candidates_max` at most; there are `words_max` words of signatures at most. */
FirstLook first_look_begins(void *out, uint32_t count, uint32_t words_max, uint32_t candidates_max) {
    Glance *glances = out;
    return (FirstLook){.next = glances, .room = {(Candidate *)(void *)(glances + count), candidates_max, words_max}};
}

/* The next text. What is clear is remembered under the key; what is remembered as clear is not read. */
void look_first(FirstLook *look, const First *by, const uint8_t *key, const uint8_t *at, size_t length) {
    Part text = {at, at + length};
    Glance *glance = look->next++;
    int is_kept = length >= REMEMBERED_BYTES_MIN;
    glance->is_open = 0;
    glance->memory = is_kept ? memory_of(key, at, length) : (Memory){.bits = 0};
    if (!is_kept || !is_remembered(&by->recent, &glance->memory)) {
        glance->memory.bits = llmproxy_candidates(by->literals, at, length);
        glance->is_open = !is_clear(by, text, &look->room, &glance->seen);
        if (is_kept && !glance->is_open) remember(&by->recent, &glance->memory);
    }
    look->bits |= glance->memory.bits;
    look->open += glance->is_open;
}
