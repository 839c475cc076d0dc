/* What Python calls for every request. To pass two arguments by ctypes takes 3,500 instructions; Python calls these as its own functions, in 200.
 * They take what they are given apart, and call what does the work. What they need of Python is of its stable ABI and declared here: no headers,
 * and one library for all versions. */
#include "native.h"

typedef struct _object PyObject; /* Python's names are Python's. */
typedef ptrdiff_t Py_ssize_t;
typedef PyObject *Call(PyObject *self, PyObject *const *arguments, Py_ssize_t count);
typedef struct {
    const char *name;
    Call *call;
    int flags;
    const char *doc;
} PyMethodDef;
enum { METH_FASTCALL = 0x80 };

extern PyObject *PyExc_TypeError, *PyExc_LookupError;
void PyErr_SetString(PyObject *kind, const char *message);
PyObject *PyErr_Occurred(void);
void PyErr_Clear(void);
void Py_DecRef(PyObject *one);
PyObject *PyCFunction_NewEx(PyMethodDef *definition, PyObject *self, PyObject *module);
PyObject *PyLong_FromUnsignedLongLong(unsigned long long number);
unsigned long long PyLong_AsUnsignedLongLong(PyObject *number);
void *PyLong_AsVoidPtr(PyObject *number);
int PyBytes_AsStringAndSize(PyObject *bytes, char **at, Py_ssize_t *size);
const char *PyUnicode_AsUTF8AndSize(PyObject *text, Py_ssize_t *size);
PyObject *PyUnicode_AsEncodedString(PyObject *text, const char *encoding, const char *errors);
Py_ssize_t PyList_Size(PyObject *list);
PyObject *PyList_GetItem(PyObject *list, Py_ssize_t at);

/* Bytes that Python owns. */
typedef struct {
    const uint8_t *at;
    Py_ssize_t length;
    PyObject *own; /* Made for this call; of nearly all there is none. */
} Bytes;

static int has(Py_ssize_t count, Py_ssize_t wanted) {
    if (count != wanted) PyErr_SetString(PyExc_TypeError, "not as many as are wanted");
    return count == wanted;
}

static int bytes_of(PyObject *given, Bytes *bytes) {
    char *at;
    if (PyBytes_AsStringAndSize(given, &at, &bytes->length)) return 0;
    bytes->at = (const uint8_t *)at;
    return 1;
}

/* In UTF-8. Half of a surrogate pair is written as if it were a character. */
static int utf8_of(PyObject *text, Bytes *bytes) {
    bytes->own = 0;
    bytes->at = (const uint8_t *)PyUnicode_AsUTF8AndSize(text, &bytes->length);
    if (bytes->at) return 1;
    PyErr_Clear();
    bytes->own = PyUnicode_AsEncodedString(text, "utf-8", "surrogatepass");
    return bytes->own && bytes_of(bytes->own, bytes);
}

/* Under which texts are remembered. */
static int key_of(PyObject *given, Bytes *key) {
    enum { KEY_BYTES = 16 };
    return bytes_of(given, key) && has(key->length, KEY_BYTES);
}

static void let_go(Bytes *bytes) {
    if (bytes->own) Py_DecRef(bytes->own);
}

static PyObject *number(unsigned long long one) { return PyLong_FromUnsignedLongLong(one); }

#define CALL(name) static PyObject *name(PyObject *self __attribute__((unused)), PyObject *const *arguments, Py_ssize_t count)

/* (document: bytes) -> int */
CALL(keys) {
    Bytes document;
    if (!has(count, 1) || !bytes_of(arguments[0], &document)) return 0;
    return number(llmproxy_keys(document.at, (size_t)document.length));
}

/* (document: bytes) -> int */
CALL(keys_repeat) {
    Bytes document;
    if (!has(count, 1) || !bytes_of(arguments[0], &document)) return 0;
    return number((unsigned)llmproxy_keys_repeat(document.at, (size_t)document.length));
}

/* (document: bytes) -> int */
CALL(may_carry_files) {
    Bytes document;
    if (!has(count, 1) || !bytes_of(arguments[0], &document)) return 0;
    return number((unsigned)llmproxy_may_carry_files(document.at, (size_t)document.length));
}

/* (literals: address, text: str) -> int */
CALL(candidates) {
    Bytes text;
    if (!has(count, 2)) return 0;
    const Literals *literals = PyLong_AsVoidPtr(arguments[0]);
    if (!literals || !utf8_of(arguments[1], &text)) return 0;
    uint32_t bits = llmproxy_candidates(literals, text.at, (size_t)text.length);
    let_go(&text);
    return number(bits);
}

/* (vocabulary: address, text: str) -> int */
CALL(may_say) {
    Bytes text;
    if (!has(count, 2)) return 0;
    const Vocabulary *vocabulary = PyLong_AsVoidPtr(arguments[0]);
    if (!vocabulary || !utf8_of(arguments[1], &text)) return 0;
    int found = llmproxy_may_say(vocabulary, text.at, (size_t)text.length);
    let_go(&text);
    return number((unsigned)found);
}

/* (first: address, key: bytes of 16, texts: list[str], words_max, candidates_max, out: address) -> the bits of all texts, OPEN if one is to be weighed,
 * and from bit WORDS on how many words of signatures were seen. */
CALL(first_look) {
    enum { OPEN = 31, WORDS = 32 };
    Bytes key, text;
    if (!has(count, 6) || !key_of(arguments[1], &key)) return 0;
    const First *first = PyLong_AsVoidPtr(arguments[0]);
    Py_ssize_t texts = PyList_Size(arguments[2]);
    uint32_t words_max = (uint32_t)PyLong_AsUnsignedLongLong(arguments[3]), candidates_max = (uint32_t)PyLong_AsUnsignedLongLong(arguments[4]);
    void *out = PyLong_AsVoidPtr(arguments[5]);
    if (PyErr_Occurred()) return 0;
    FirstLook look = first_look_begins(out, (uint32_t)texts, words_max, candidates_max);
    for (Py_ssize_t one = 0; one < texts; one++) {
        PyObject *given = PyList_GetItem(arguments[2], one);
        if (!given || !utf8_of(given, &text)) return 0;
        look_first(&look, first, key.at, text.at, (size_t)text.length);
        let_go(&text);
    }
    unsigned long long words = words_max - look.room.words_left;
    return number(words << WORDS | (unsigned long long)(look.open != 0) << OPEN | look.bits);
}

/* (firewall: address, key: bytes of 16, body: bytes, new: address) -> whether all of the body is clear */
CALL(glance) {
    Bytes key, body;
    if (!has(count, 4) || !key_of(arguments[1], &key) || !bytes_of(arguments[2], &body)) return 0;
    const Firewall *firewall = PyLong_AsVoidPtr(arguments[0]);
    New *out = PyLong_AsVoidPtr(arguments[3]);
    if (!firewall || !out) return 0;
    return number((unsigned)llmproxy_glance(firewall, key.at, body.at, (size_t)body.length, out));
}

#define KNOWN(name) {#name, name, METH_FASTCALL, 0}
static PyMethodDef CALLS[] = {KNOWN(keys),    KNOWN(keys_repeat), KNOWN(may_carry_files), KNOWN(candidates),
                              KNOWN(may_say), KNOWN(first_look),  KNOWN(glance)};

static int is_called(const char *one, const char *other) {
    while (*one && *one == *other) one++, other++;
    return *one == *other;
}

/* The function of that name. */
EXPORT PyObject *llmproxy_call(const char *name) {
    for (size_t one = 0; one < sizeof CALLS / sizeof *CALLS; one++)
        if (is_called(CALLS[one].name, name)) return PyCFunction_NewEx(&CALLS[one], 0, 0);
    PyErr_SetString(PyExc_LookupError, name);
    return 0;
}
