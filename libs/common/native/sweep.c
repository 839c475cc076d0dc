/* What the injection guard wants to know of every text of a request, in one call: whether something is hidden in it, how suspicious its windows
 * are, and which signatures may be in it. To be called from Python costs as much as a hundred bytes of a text do here. */
#include "native.h"
#include <string.h>

enum {
    BORDER = 0xff,      /* Between two texts: a byte that UTF-8 does not have. */
    BYTES_MAX = 1 << 13, /* Of a text: words further apart are not about each other, and a longer one is looked through in pieces. */
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

/* Room for candidates, and words to be found. */
typedef struct {
    Candidate *candidates;
    uint32_t candidates_left, words_left;
} Room;

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
