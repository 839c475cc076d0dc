/* Of which sources this library was made: native.py compares it with those beside it. */
#include "native.h"

EXPORT extern const char llmproxy_made_of[];
const char llmproxy_made_of[] = MADE_OF;
