/* Carrying tokens out: into the original bytes, and of those into the log. */
#include "index.h"
#include "log.h"
#include "token.h"

#include <string.h>

int bl_decode(const bl_view *view, const uint8_t *token_section, size_t token_length, const uint8_t *literal,
              size_t literal_length, uint8_t *out, size_t out_length, uint64_t *oldest)
{
    bl_reader reader = {.at = token_section, .end = token_section + token_length};
    size_t done = 0, used = 0;

    for (int i = 0; i < BL_LOGS; i++)
        oldest[i] = UINT64_MAX;
    while (reader.at < reader.end) {
        bl_token token;
        int status = bl_token_read(&reader, &token);
        if (status)
            return status;
        if (token.length > out_length - done)
            return BL_LENGTH;
        if (token.copy) {
            if (!bl_view_range(&view[token.log], token.offset, token.offset + token.length))
                return BL_REFERENCE;
            bl_log_read(view[token.log].log, token.offset, out + done, (size_t)token.length);
            if (token.offset < oldest[token.log])
                oldest[token.log] = token.offset;
        } else {
            if (token.length > literal_length - used)
                return BL_LENGTH;
            memcpy(out + done, literal + used, (size_t)token.length);
            used += (size_t)token.length;
        }
        done += (size_t)token.length;
    }
    return done == out_length && used == literal_length ? BL_OK : BL_LENGTH;
}

/* Anchors whose window ends in [from, to] go into the index; those before are passed over. Where the search has looked
 * at the bucket, it is written without being read again: by now it is far from the processor. */
static size_t put_listed(bl_index *index, uint32_t log_id, uint64_t offset, size_t from, size_t to,
                         const bl_anchor *anchor, size_t next, size_t anchors)
{
    while (next < anchors && anchor[next].end <= from)
        next++;
    for (; next < anchors && anchor[next].end <= to; next++) {
        uint64_t at = offset + (anchor[next].end - from);
        bl_place place;
        if (anchor[next].slot == BL_UNSEEN) {
            bl_index_put(index, anchor[next].hash, log_id, at, BL_PUT_BY_AGE);
        } else if (anchor[next].slot < BL_BUCKET) {
            place = bl_index_place(index, anchor[next].hash);
            __atomic_store_n(&place.bucket[anchor[next].slot], bl_entry(place, log_id, at), __ATOMIC_RELAXED);
        }
    }
    return next;
}

int bl_append(const bl_log *log, bl_index *index, uint32_t log_id, uint64_t base, const uint8_t *token_section,
              size_t token_length, const uint8_t *raw, size_t length, const bl_anchor *anchor, size_t anchors)
{
    bl_reader reader = {.at = token_section, .end = token_section + token_length};
    size_t at = 0, next = 0;

    if (log_id >= BL_LOGS)
        return BL_RESERVED;
    while (reader.at < reader.end) {
        bl_token token;
        int status = bl_token_read(&reader, &token);
        if (status)
            return status;
        if (token.length > length - at)
            return BL_LENGTH;
        if (token.logged) {
            size_t end = at + (size_t)token.length;
            bl_log_write(log, base, raw + at, (size_t)token.length);
            __atomic_store_n(&index->head[log_id], base + token.length, __ATOMIC_RELAXED);
            if (anchor)
                next = put_listed(index, log_id, base, at, end, anchor, next, anchors);
            else
                bl_index_bytes(index, log_id, base, raw, at, end, BL_PUT_BY_AGE);
            base += token.length;
        }
        at += (size_t)token.length;
    }
    return at == length ? BL_OK : BL_LENGTH;
}
