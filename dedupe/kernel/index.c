#include "index.h"
#include "log.h"
#include "scan.h"

enum {
    YOUNG_BITS = 16,   /* ages that differ by less (bytes) are equal */
    ROUGH_BITS = 4,    /* of the tag that do not count for its burden */
    PAGE_BITS = 16,    /* what is indexed again at one time */
    LATELY_BITS = 26,  /* bytes logged since, in which few of the entries put back are lost */
    ANCHOR_BYTES = 64, /* of log to an anchor, at least; 80 on average */
};

#define EMPTY ((uint64_t)1 << 59) /* more than any burden */

static uint64_t age_of(const bl_index *index, uint32_t log_id, uint64_t offset)
{
    return (__atomic_load_n(&index->head[log_id], __ATOMIC_RELAXED) - offset) & BL_OFFSET_MASK;
}

/* Orders entries: the highest goes first. At most 57 bits: 25 of age, 32 of the tag's square. */
static inline uint64_t burden(uint64_t entry, const bl_index *index)
{
    uint64_t tag = bl_entry_tag(entry) >> ROUGH_BITS;
    return ((age_of(index, bl_entry_log(entry) % BL_LOGS, entry) >> YOUNG_BITS) + 1) * (tag * tag);
}

/* Content that occurs in several places keeps two of them: the newest is often a chance one. */
static uint32_t older_twin(const bl_index *index, const uint64_t *bucket, uint32_t alike, uint32_t log_id)
{
    uint32_t oldest = BL_NOWHERE, twins = 0;
    uint64_t most = 0;

    for (; alike; alike &= alike - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(alike);
        uint64_t entry = bl_entry_load(&bucket[i]), age = age_of(index, log_id, entry);
        if (bl_entry_log(entry) != log_id)
            continue;
        if (twins++ == 0 || age > most) {
            oldest = i;
            most = age;
        }
    }
    return twins < 2 ? BL_NOWHERE : oldest;
}

/* The entries of a bucket with that tag, and the greatest of (burden, number), where an empty one has the greatest
 * burden of all. */
typedef struct {
    uint32_t alike;
    uint64_t greatest;
} glance;

static glance glance_plain(const bl_index *index, bl_place place)
{
    glance seen = {0, 0};

    for (uint32_t i = 0; i < BL_BUCKET; i++) {
        uint64_t entry = bl_entry_load(&place.bucket[i]);
        uint64_t key = (entry ? burden(entry, index) : EMPTY) * BL_BUCKET + i;
        seen.alike |= (uint32_t)(entry && bl_entry_tag(entry) == place.tag) << i;
        seen.greatest = key > seen.greatest ? key : seen.greatest;
    }
    return seen;
}

#if defined(__x86_64__) && !defined(BL_PLAIN)
#include <immintrin.h>

_Static_assert(BL_LOGS == 2 && BL_BUCKET == 8, "laid out for these");

__attribute__((target("avx2"))) static inline __m256i greater(__m256i a, __m256i b)
{
    return _mm256_blendv_epi8(a, b, _mm256_cmpgt_epi64(b, a));
}

/* Four entries from `number` on: their keys, and in alike's low four bits which have the tag. */
__attribute__((target("avx2"))) static inline __m256i keys(const bl_index *index, bl_place place, int number,
                                                           uint32_t *alike)
{
    const __m256i entry = _mm256_loadu_si256((const __m256i *)(place.bucket + number));
    const __m256i empty = _mm256_cmpeq_epi64(entry, _mm256_setzero_si256());
    const __m256i tag = _mm256_srli_epi64(entry, BL_OFFSET_BITS + BL_LOG_BITS);
    const __m256i same = _mm256_cmpeq_epi64(tag, _mm256_set1_epi64x((int64_t)place.tag));
    const __m256d log = _mm256_castsi256_pd(_mm256_slli_epi64(entry, 63 - BL_OFFSET_BITS));
    const __m256d first = _mm256_castsi256_pd(_mm256_set1_epi64x((int64_t)index->head[0]));
    const __m256d second = _mm256_castsi256_pd(_mm256_set1_epi64x((int64_t)index->head[1]));
    const __m256i head = _mm256_castpd_si256(_mm256_blendv_pd(first, second, log));
    const __m256i age = _mm256_and_si256(_mm256_sub_epi64(head, entry), _mm256_set1_epi64x((int64_t)BL_OFFSET_MASK));
    const __m256i aged = _mm256_add_epi64(_mm256_srli_epi64(age, YOUNG_BITS), _mm256_set1_epi64x(1));
    const __m256i rough = _mm256_srli_epi64(tag, ROUGH_BITS);
    const __m256i load = _mm256_mul_epu32(aged, _mm256_mul_epu32(rough, rough));
    const __m256i key = _mm256_or_si256(_mm256_slli_epi64(load, 3),
                                        _mm256_set_epi64x(number + 3, number + 2, number + 1, number));

    *alike = (uint32_t)_mm256_movemask_pd(_mm256_castsi256_pd(_mm256_andnot_si256(empty, same)));
    return _mm256_or_si256(key, _mm256_and_si256(empty, _mm256_set1_epi64x((int64_t)(EMPTY * BL_BUCKET))));
}

__attribute__((target("avx2"))) static glance glance_avx2(const bl_index *index, bl_place place)
{
    uint32_t low, high;
    __m256i most = greater(keys(index, place, 0, &low), keys(index, place, 4, &high));

    most = greater(most, _mm256_permute4x64_epi64(most, 0x4E));
    most = greater(most, _mm256_permute4x64_epi64(most, 0xB1));
    return (glance){low | high << 4, (uint64_t)_mm256_extract_epi64(most, 0)};
}

static inline glance glance_at(const bl_index *index, bl_place place)
{
    return __builtin_cpu_supports("avx2") ? glance_avx2(index, place) : glance_plain(index, place);
}
#else
#define glance_at glance_plain
#endif

/* least: the burden of the new entry; those with less stay. */
static inline bl_look look_for(const bl_index *index, bl_place place, uint32_t log_id, uint64_t least)
{
    glance seen = glance_at(index, place);
    bl_look look = {seen.alike, seen.greatest / BL_BUCKET >= least ? seen.greatest % BL_BUCKET : BL_NOWHERE};
    uint32_t twin;

    if (look.alike & (look.alike - 1) && (twin = older_twin(index, place.bucket, look.alike, log_id)) != BL_NOWHERE)
        look.slot = twin;
    return look;
}

bl_look bl_index_look(const bl_index *index, bl_place place, uint32_t log_id)
{
    return look_for(index, place, log_id, burden(bl_entry(place, log_id, index->head[log_id]), index));
}

static void put_entry(bl_index *index, bl_place place, uint32_t log_id, uint64_t offset, enum bl_put put)
{
    uint64_t entry = bl_entry(place, log_id, offset);
    bl_look look = look_for(index, place, log_id, put == BL_PUT_ALWAYS ? 0 : burden(entry, index));

    for (; look.alike; look.alike &= look.alike - 1)
        if (bl_entry_load(&place.bucket[__builtin_ctz(look.alike)]) == entry)
            return;
    if (look.slot != BL_NOWHERE)
        __atomic_store_n(&place.bucket[look.slot], entry, __ATOMIC_RELAXED);
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

/* One anchor in four: enough to find what was received before when it is sent back, at a quarter of the work and room. */
static inline int is_milestone(uint64_t hash)
{
    return (hash >> BL_TAG_BITS) % 4 == 0;
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
            if (put == BL_PUT_ALWAYS || log_id == 0 || is_milestone(anchor[i].hash))
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

/* Whether the index lacks anchors of that age: of the peer's log it has milestones only; of a log several times longer than what it could hold densely,
 * it keeps the newest held^2 / (4 length) bytes whole (the integral of density by square root of age). */
static int thin(const bl_index *index, const bl_view *view, uint32_t log_id, uint64_t offset)
{
    uint64_t held = (uint64_t)index->buckets * BL_BUCKET * ANCHOR_BYTES;
    uint64_t length = view->range[view->ranges - 1].end - view->range[0].start;

    return log_id > 0 || (length > held && age_of(index, log_id, offset) > held / (4 * (length / held)));
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
