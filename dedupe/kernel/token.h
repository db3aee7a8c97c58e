/* Tokens: varints (LEB128, at most 10 bytes) as docs/FORMAT.md says. */
#ifndef BRANCHLINE_TOKEN_H
#define BRANCHLINE_TOKEN_H

#include "kernel.h"

typedef struct {
    uint64_t length;
    uint64_t offset; /* of a COPY */
    uint32_t log;    /* of a COPY */
    uint8_t copy, logged;
} bl_token;

/* Reads and writes run over all tokens of a block. done: bytes of the block that they stand for so far; shift[]: offset
 * less position in the block (modulo 2^64) of the last COPY of each log. */
typedef struct {
    const uint8_t *at, *end;
    uint64_t done, shift[BL_LOGS];
} bl_reader;

typedef struct {
    uint8_t *at;
    uint64_t done, shift[BL_LOGS];
} bl_writer;

int bl_varint_read(const uint8_t **at, const uint8_t *end, uint64_t *value);
uint8_t *bl_varint_write(uint8_t *at, uint64_t value);
/* The next token; the caller has seen that at < end. */
int bl_token_read(bl_reader *reader, bl_token *token);
/* Writes at most BL_TOKEN_MAX bytes. */
void bl_token_write(bl_writer *writer, const bl_token *token);

#endif
