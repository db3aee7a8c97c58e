#include "index.h"

enum {
    DENSE_BITS = 24, /* octaves of age above this many bytes count against an entry */
    SAME = 2,        /* entries of a log with one tag */
};

static int burden(uint64_t entry, const bl_index *index)
{
    uint32_t log_id = bl_entry_log(entry);
    uint64_t tag = bl_entry_tag(entry), age;
    int octaves, level = tag ? __builtin_ctzll(tag) : BL_TAG_BITS;

    if (log_id >= BL_LOGS)
        return 64;
    age = (__atomic_load_n(&index->head[log_id], __ATOMIC_RELAXED) - entry) & BL_OFFSET_MASK;
    octaves = 63 - __builtin_clzll((age >> DENSE_BITS) | 1);
    return octaves - level;
}

/* Content that occurs in several places keeps two of them: the newest is often a chance one. */
void bl_index_put(bl_index *index, uint64_t hash, uint32_t log_id, uint64_t offset)
{
    bl_place place = bl_index_place(index, hash);
    uint64_t entry = place.tag << (BL_OFFSET_BITS + BL_LOG_BITS) | (uint64_t)log_id << BL_OFFSET_BITS |
                     (offset & BL_OFFSET_MASK);
    uint64_t most_age = 0;
    int same = 0, at = -1, most = INT32_MIN;

    for (int i = 0; i < BL_BUCKET; i++) {
        uint64_t old = bl_entry_load(&place.bucket[i]), age;
        if (old == 0) {
            at = i;
            break;
        }
        if (bl_entry_tag(old) != place.tag || bl_entry_log(old) != log_id)
            continue;
        age = (offset - old) & BL_OFFSET_MASK;
        if (++same == 1 || age > most_age) {
            most_age = age;
            at = i;
        }
        if (same == SAME)
            break;
    }
    if (same < SAME && (at < 0 || bl_entry_load(&place.bucket[at]) != 0)) {
        for (int i = 0; i < BL_BUCKET; i++) {
            int load = burden(bl_entry_load(&place.bucket[i]), index);
            if (load > most) {
                most = load;
                at = i;
            }
        }
    }
    __atomic_store_n(&place.bucket[at], entry, __ATOMIC_RELAXED);
}
