#include "token.h"

int bl_varint_read(const uint8_t **at, const uint8_t *end, uint64_t *value)
{
    uint64_t result = 0;

    for (int shift = 0; shift < 64; shift += 7) {
        uint8_t byte;
        if (*at == end)
            return BL_TRUNCATED;
        byte = *(*at)++;
        if (shift == 63 && byte > 1)
            return BL_LENGTH;
        result |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *value = result;
            return BL_OK;
        }
    }
    return BL_LENGTH;
}

uint8_t *bl_varint_write(uint8_t *at, uint64_t value)
{
    while (value >= 0x80) {
        *at++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *at++ = (uint8_t)value;
    return at;
}

int bl_token_read(bl_reader *reader, bl_token *token)
{
    uint64_t head, delta;
    int status = bl_varint_read(&reader->at, reader->end, &head);

    if (status)
        return status;
    token->copy = head & 1;
    token->logged = head >> 1 & 1;
    if (!token->copy) {
        token->length = head >> 2;
        return token->length ? BL_OK : BL_LENGTH;
    }
    token->log = head >> 2 & 3;
    token->length = head >> 4;
    if (token->log >= BL_LOGS)
        return BL_RESERVED;
    if (!token->length)
        return BL_LENGTH;
    status = bl_varint_read(&reader->at, reader->end, &delta);
    if (status)
        return status;
    delta = (delta >> 1) ^ (0 - (delta & 1)); /* zigzag */
    token->offset = reader->previous[token->log] + delta;
    if (token->offset + token->length < token->offset)
        return BL_REFERENCE;
    reader->previous[token->log] = token->offset + token->length;
    return BL_OK;
}

void bl_token_write(bl_writer *writer, const bl_token *token)
{
    uint64_t delta, head = (uint64_t)token->logged << 1 | token->copy;

    if (!token->copy) {
        writer->at = bl_varint_write(writer->at, token->length << 2 | head);
        return;
    }
    writer->at = bl_varint_write(writer->at, token->length << 4 | (uint64_t)token->log << 2 | head);
    delta = token->offset - writer->previous[token->log];
    writer->at = bl_varint_write(writer->at, delta << 1 ^ (0 - (delta >> 63)));
    writer->previous[token->log] = token->offset + token->length;
}
