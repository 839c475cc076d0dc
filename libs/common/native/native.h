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

#endif
