/* The head of a block and a first, measuring pass over its tokens. */
#include "token.h"

enum { CODING_MASK = 7, LOGS_BIT = 8, HASH_BYTES = 8, FIRST_PACKED = 3, CODINGS = 6 };

size_t bl_head_write(uint8_t *out, uint32_t coding, int logs, uint64_t base, uint64_t raw_length, uint64_t length)
{
    uint8_t *at = out;

    *at++ = (uint8_t)((coding & CODING_MASK) | (logs ? LOGS_BIT : 0));
    at = bl_varint_write(at, raw_length);
    if (logs)
        at = bl_varint_write(at, base);
    at = bl_varint_write(at, length);
    return (size_t)(at - out);
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
    if (block->coding >= CODINGS)
        return BL_RESERVED;
    block->packed = block->coding >= FIRST_PACKED;
    block->logs = (*at++ & LOGS_BIT) != 0;
    if ((status = bl_varint_read(&at, end, &block->raw_length)))
        return status;
    if (block->raw_length > limit)
        return BL_LENGTH;
    if (block->logs && (status = bl_varint_read(&at, end, &block->base)))
        return status;
    if ((status = bl_varint_read(&at, end, block->packed ? &block->packed_length : &block->token_length)))
        return status;
    /* So much is unpacked before the tokens are known. They are fewer than the bytes that they stand for. */
    if (block->packed_length > 2 * block->raw_length)
        return BL_LENGTH;
    block->token_at = (size_t)(at - wire);
    if ((size_t)(end - at) < HASH_BYTES || block->token_length > (size_t)(end - at) - HASH_BYTES)
        return BL_TRUNCATED;
    block->hash_at = block->token_at + (size_t)block->token_length;
    block->payload_at = block->hash_at + HASH_BYTES;
    return BL_OK;
}

int bl_block_measure(bl_block *block, const uint8_t *token_section)
{
    size_t length = block->packed ? (size_t)block->packed_length : (size_t)block->token_length;
    bl_reader reader = {.at = token_section, .end = token_section + length};

    while (reader.done < block->raw_length) {
        bl_token token;
        int status = bl_token_read(&reader, &token);
        if (status)
            return status;
        if (token.length > block->raw_length - (reader.done - token.length))
            return BL_LENGTH;
        if (token.copy)
            block->copied += token.length;
        else
            block->literal_length += token.length;
        if (token.logged)
            block->logged_length += token.length;
    }
    block->token_length = (size_t)(reader.at - token_section);
    if (length - block->token_length != (block->packed ? block->literal_length : 0))
        return BL_LENGTH;
    if ((block->logged_length > 0) != block->logs || block->base + block->logged_length < block->base)
        return BL_LENGTH;
    return BL_OK;
}
