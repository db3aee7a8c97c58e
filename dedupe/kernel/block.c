/* The head of a block and the first, measuring pass over its tokens. */
#include "token.h"

enum { CODING_MASK = 7, LOGS_BIT = 8, HASH_BYTES = 8 };

size_t bl_head_write(uint8_t *out, uint32_t coding, int logs, uint64_t base, uint64_t raw_length,
                     uint64_t token_length)
{
    uint8_t *at = out;

    *at++ = (uint8_t)((coding & CODING_MASK) | (logs ? LOGS_BIT : 0));
    at = bl_varint_write(at, raw_length);
    if (logs)
        at = bl_varint_write(at, base);
    at = bl_varint_write(at, token_length);
    return (size_t)(at - out);
}

static int measure(const uint8_t *wire, bl_block *block)
{
    bl_reader reader = {wire + block->token_at, wire + block->hash_at, {0}};
    uint64_t total = 0;

    while (reader.at < reader.end) {
        bl_token token;
        int status = bl_token_read(&reader, &token);
        if (status)
            return status;
        if (token.length > block->raw_length - total)
            return BL_LENGTH;
        total += token.length;
        if (token.copy)
            block->copied += token.length;
        else
            block->literal_length += token.length;
        if (token.logged)
            block->logged_length += token.length;
    }
    if (total != block->raw_length)
        return BL_LENGTH;
    if ((block->logged_length > 0) != block->logs || block->base + block->logged_length < block->base)
        return BL_LENGTH;
    return BL_OK;
}

int bl_block_read(const uint8_t *wire, size_t length, uint64_t limit, bl_block *block)
{
    const uint8_t *at = wire, *end = wire + length;
    int status;

    *block = (bl_block){0};
    if (length == 0)
        return BL_TRUNCATED;
    if (*at & ~(CODING_MASK | LOGS_BIT))
        return BL_RESERVED;
    block->coding = *at & CODING_MASK;
    block->logs = (*at++ & LOGS_BIT) != 0;
    if ((status = bl_varint_read(&at, end, &block->raw_length)))
        return status;
    if (block->raw_length > limit)
        return BL_LENGTH;
    if (block->logs && (status = bl_varint_read(&at, end, &block->base)))
        return status;
    if ((status = bl_varint_read(&at, end, &block->token_length)))
        return status;
    if ((size_t)(end - at) < HASH_BYTES || block->token_length > (size_t)(end - at) - HASH_BYTES)
        return BL_TRUNCATED;
    block->token_at = (size_t)(at - wire);
    block->hash_at = block->token_at + (size_t)block->token_length;
    block->payload_at = block->hash_at + HASH_BYTES;
    return measure(wire, block);
}
