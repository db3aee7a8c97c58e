/* The anchor index: which log offset a window's hash was last seen at.
 *
 * An entry is tag (20 bits), log (4 bits), low 40 bits of the offset; 0 is empty. A bucket is one cache line.
 * When a bucket is full, the entry goes for which age times the square of its tag is greatest. Tags are spread evenly,
 * so what stays of the anchors of some age falls with the square root of that age, whatever the budget: the newest part
 * of a log stays densely indexed, and sixteen times the age keeps a quarter of the anchors.
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

/* hash: as the scan makes it, all of its bits equally good. */
static inline bl_place bl_index_place(const bl_index *index, uint64_t hash)
{
    return (bl_place){
        .bucket = index->entry + ((hash >> 32) * index->buckets >> 32) * BL_BUCKET,
        .tag = hash & (((uint64_t)1 << BL_TAG_BITS) - 1),
    };
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

/* What a bucket says: the entries that have the place's tag (bit i: entry i), and which of them all gives way to a new
 * one of a log (BL_NOWHERE: none). */
typedef struct {
    uint32_t alike, slot;
} bl_look;

/* For an entry of that log that is put at its head soon. */
bl_look bl_index_look(const bl_index *index, bl_place place, uint32_t log_id);

static inline uint64_t bl_entry(bl_place place, uint32_t log_id, uint64_t offset)
{
    return place.tag << (BL_OFFSET_BITS + BL_LOG_BITS) | (uint64_t)log_id << BL_OFFSET_BITS | (offset & BL_OFFSET_MASK);
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
