#include "index.h"
#include "log.h"
#include "scan.h"

enum {
    YOUNG_BITS = 16,   /* up to this age (bytes) all are equal */
    SAME = 2,          /* entries of a log with one tag */
    PAGE_BITS = 16,    /* what is indexed again at one time */
    LATELY_BITS = 26,  /* bytes logged since, in which few of the entries put back are lost */
    ANCHOR_BYTES = 64, /* of log to an anchor, at least; 80 on average */
};

static uint64_t age_of(const bl_index *index, uint32_t log_id, uint64_t offset)
{
    return (__atomic_load_n(&index->head[log_id], __ATOMIC_RELAXED) - offset) & BL_OFFSET_MASK;
}

/* Orders entries: the highest goes first. */
static uint64_t burden(uint64_t entry, const bl_index *index)
{
    uint32_t log_id = bl_entry_log(entry);
    uint64_t tag = bl_entry_tag(entry), age;
    int octaves, level = tag ? __builtin_ctzll(tag) : BL_TAG_BITS;

    if (log_id >= BL_LOGS)
        return UINT64_MAX;
    age = age_of(index, log_id, entry);
    octaves = 63 - __builtin_clzll((age >> YOUNG_BITS) | 1);
    return (uint64_t)(octaves + 2 * (BL_TAG_BITS - level)) << BL_OFFSET_BITS | age;
}

/* Content that occurs in several places keeps two of them: the newest is often a chance one. */
static void put_entry(bl_index *index, bl_place place, uint32_t log_id, uint64_t offset, enum bl_put put)
{
    uint64_t entry = place.tag << (BL_OFFSET_BITS + BL_LOG_BITS) | (uint64_t)log_id << BL_OFFSET_BITS |
                     (offset & BL_OFFSET_MASK);
    uint64_t most_age = 0, most;
    int same = 0, at = -1;

    for (int i = 0; i < BL_BUCKET; i++) {
        uint64_t old = bl_entry_load(&place.bucket[i]), age;
        if (old == entry)
            return;
        if (old == 0) {
            at = i;
            goto store;
        }
        if (bl_entry_tag(old) != place.tag || bl_entry_log(old) != log_id)
            continue;
        age = (offset - old) & BL_OFFSET_MASK;
        if (++same == 1 || age > most_age) {
            most_age = age;
            at = i;
        }
        if (same == SAME)
            goto store;
    }
    most = put == BL_PUT_ALWAYS ? 0 : burden(entry, index);
    at = -1;
    for (int i = 0; i < BL_BUCKET; i++) {
        uint64_t load = burden(bl_entry_load(&place.bucket[i]), index);
        if (load >= most) {
            most = load;
            at = i;
        }
    }
    if (at < 0)
        return;
store:
    __atomic_store_n(&place.bucket[at], entry, __ATOMIC_RELAXED);
}

void bl_index_put(bl_index *index, uint64_t hash, uint32_t log_id, uint64_t offset, enum bl_put put)
{
    put_entry(index, bl_index_place(index, hash), log_id, offset, put);
}

/* The number of the bucket of the `buckets` that a hash with these upper 32 bits goes to; see bl_index_place. */
static uint64_t bucket_of(uint64_t upper, uint64_t buckets)
{
    return upper * buckets >> 32;
}

void bl_index_take(bl_index *index, const bl_index *from)
{
    for (uint32_t log_id = 0; log_id < BL_LOGS; log_id++)
        __atomic_store_n(&index->head[log_id], __atomic_load_n(&from->head[log_id], __ATOMIC_RELAXED), __ATOMIC_RELAXED);
    for (uint64_t at = 0; at < from->buckets; at++) {
        uint64_t lowest = ((at << 32) + from->buckets - 1) / from->buckets;
        uint64_t highest = (((at + 1) << 32) + from->buckets - 1) / from->buckets - 1;
        uint64_t first = bucket_of(lowest, index->buckets), last = bucket_of(highest, index->buckets);
        for (int i = 0; i < BL_BUCKET; i++) {
            uint64_t entry = bl_entry_load(&from->entry[at * BL_BUCKET + (uint64_t)i]);
            for (uint64_t to = first; entry && to <= last; to++) {
                bl_place place = {index->entry + to * BL_BUCKET, bl_entry_tag(entry)};
                put_entry(index, place, bl_entry_log(entry), entry & BL_OFFSET_MASK, BL_PUT_BY_AGE);
            }
        }
    }
}

void bl_index_bytes(bl_index *index, uint32_t log_id, uint64_t offset, const uint8_t *raw, size_t from, size_t to,
                    enum bl_put put)
{
    enum { STEP = 4096, ROOM = 512 };
    bl_anchor anchor[ROOM];

    for (size_t at = from; at < to; at += STEP) {
        size_t end = to - at < STEP ? to : at + STEP;
        size_t count = bl_scan_for(index, raw, at, end, anchor, ROOM);
        for (size_t i = 0; i < count; i++)
            bl_index_put(index, anchor[i].hash, log_id, offset + (anchor[i].end - from), put);
    }
}

void bl_index_range(bl_index *index, uint32_t log_id, uint64_t offset, const uint8_t *raw, size_t length)
{
    if (log_id >= BL_LOGS)
        return;
    if (__atomic_load_n(&index->head[log_id], __ATOMIC_RELAXED) < offset + length)
        __atomic_store_n(&index->head[log_id], offset + length, __ATOMIC_RELAXED);
    bl_index_bytes(index, log_id, offset, raw, 0, length, BL_PUT_BY_AGE);
}

/* Whether the index has dropped anchors of that age: of a log several times longer than what it could hold densely,
 * it keeps the newest held^2 / (4 length) bytes whole (the integral of density by square root of age). */
static int thin(const bl_index *index, const bl_view *view, uint32_t log_id, uint64_t offset)
{
    uint64_t held = (uint64_t)index->buckets * BL_BUCKET * ANCHOR_BYTES;
    uint64_t length = view->range[view->ranges - 1].end - view->range[0].start;

    return length > held && age_of(index, log_id, offset) > held / (4 * (length / held));
}

int bl_index_refresh(bl_index *index, const bl_view *view, uint32_t log_id, uint64_t offset)
{
    uint64_t page = offset >> PAGE_BITS, at = page << PAGE_BITS, end = at + ((uint64_t)1 << PAGE_BITS);
    uint64_t lately = age_of(index, log_id, 0) >> LATELY_BITS;
    uint64_t mark = (lately << (BL_OFFSET_BITS - PAGE_BITS) | (page & (BL_OFFSET_MASK >> PAGE_BITS))) * BL_LOGS + log_id;
    const bl_range *range = bl_view_range(view, offset, offset);

    if (!range || !thin(index, view, log_id, offset) || index->fresh[page % BL_FRESH] == mark)
        return 0;
    index->fresh[page % BL_FRESH] = mark;
    if (at < range->start)
        at = range->start;
    if (end > range->end)
        end = range->end;
    while (at < end) {
        size_t run;
        const uint8_t *bytes = bl_log_at(view->log, at, &run);
        if (run > end - at)
            run = (size_t)(end - at);
        bl_index_bytes(index, log_id, at, bytes, 0, run, BL_PUT_ALWAYS);
        at += run;
    }
    return 1;
}
