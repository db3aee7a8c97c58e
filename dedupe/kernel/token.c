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

enum { COPY = 1, LOGGED = 2, LOG_SHIFT = 2, MOVED = 8, LITERAL_SHIFT = 2, COPY_SHIFT = 4 };

int bl_token_read(bl_reader *reader, bl_token *token)
{
    uint64_t head, delta = 0;
    int status = bl_varint_read(&reader->at, reader->end, &head);

    if (status)
        return status;
    token->copy = (head & COPY) != 0;
    token->logged = (head & LOGGED) != 0;
    token->length = head >> (token->copy ? COPY_SHIFT : LITERAL_SHIFT);
    if (!token->length)
        return BL_LENGTH;
    if (token->copy) {
        token->log = head >> LOG_SHIFT & 1;
        if (head & MOVED && (status = bl_varint_read(&reader->at, reader->end, &delta)))
            return status;
        reader->shift[token->log] += (delta >> 1) ^ (0 - (delta & 1)); /* zigzag */
        token->offset = reader->shift[token->log] + reader->done;
        if (token->offset + token->length < token->offset)
            return BL_REFERENCE;
    }
    reader->done += token->length;
    return BL_OK;
}

void bl_token_write(bl_writer *writer, const bl_token *token)
{
    uint64_t delta, head = (token->copy ? COPY : 0) | (token->logged ? LOGGED : 0);

    if (token->copy) {
        delta = token->offset - writer->done - writer->shift[token->log];
        writer->shift[token->log] += delta;
        head |= (uint64_t)token->log << LOG_SHIFT | (delta ? MOVED : 0);
        writer->at = bl_varint_write(writer->at, token->length << COPY_SHIFT | head);
        if (delta)
            writer->at = bl_varint_write(writer->at, delta << 1 ^ (0 - (delta >> 63)));
    } else {
        writer->at = bl_varint_write(writer->at, token->length << LITERAL_SHIFT | head);
    }
    writer->done += token->length;
}
