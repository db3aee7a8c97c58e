/* The anchor index: which log offset a window's hash was last seen at.
 *
 * An entry is tag (20 bits), log (4 bits), low 40 bits of the offset; 0 is empty. A bucket is one cache line.
 * When a bucket is full, the entry goes whose age most exceeds what its level (zero bits of its tag) entitles it to:
 * each level is worth two octaves. So whatever the budget, the newest part of a log stays densely indexed, and the
 * density of older parts falls with the square root of their age: sixteen times the age, a quarter of the anchors.
 * (Equal shares to all octaves would leave one anchor in 20 KB in the older half of 50 GB at 5 MB per GB; this way it
 * is one in 3 KB.) Where a match into a thin part breaks off, its neighbourhood is indexed densely again.
 */
#ifndef BRANCHLINE_INDEX_H
#define BRANCHLINE_INDEX_H

#include "kernel.h"

enum { BL_OFFSET_BITS = 40, BL_LOG_BITS = 4, BL_TAG_BITS = 20 };

#define BL_OFFSET_MASK (((uint64_t)1 << BL_OFFSET_BITS) - 1)

typedef struct {
    uint64_t *bucket;
    uint64_t tag;
} bl_place;

static inline bl_place bl_index_place(const bl_index *index, uint64_t hash)
{
    uint64_t x = hash * 0x9E3779B97F4A7C15u;
    bl_place place;

    x ^= x >> 32;
    x *= 0xD6E8FEB86659FD93u;
    place.bucket = index->entry + ((x >> 32) * index->buckets >> 32) * BL_BUCKET;
    place.tag = (x >> 8) & (((uint64_t)1 << BL_TAG_BITS) - 1);
    return place;
}

static inline uint64_t bl_entry_load(const uint64_t *entry)
{
    return __atomic_load_n(entry, __ATOMIC_RELAXED);
}

static inline uint64_t bl_entry_tag(uint64_t entry)
{
    return entry >> (BL_OFFSET_BITS + BL_LOG_BITS);
}

static inline uint32_t bl_entry_log(uint64_t entry)
{
    return (uint32_t)(entry >> BL_OFFSET_BITS) & ((1u << BL_LOG_BITS) - 1);
}

/* The offset an entry means: the highest one at or below `head` with these low bits. */
static inline uint64_t bl_entry_offset(uint64_t entry, uint64_t head)
{
    return head - ((head - entry) & BL_OFFSET_MASK);
}

enum bl_put {
    BL_PUT_BY_AGE, /* unless all others in its bucket have the better claim */
    BL_PUT_ALWAYS,
};

void bl_index_put(bl_index *index, uint64_t hash, uint32_t log_id, uint64_t offset, enum bl_put put);
/* Puts the anchors of raw[from, to), which are the log's bytes from `offset` on. */
void bl_index_bytes(bl_index *index, uint32_t log_id, uint64_t offset, const uint8_t *raw, size_t from, size_t to,
                    enum bl_put put);
/* Indexes the neighbourhood of a log's offset densely if it is thin and was not seen to lately. Returns whether. */
int bl_index_refresh(bl_index *index, const bl_view *view, uint32_t log_id, uint64_t offset);

#endif
