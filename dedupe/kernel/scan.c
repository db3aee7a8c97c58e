/* Anchors: positions picked by a hash of the 8 bytes before them, named by a hash of the 32 bytes before them.
 *
 * Picking by so short a window lets many positions be judged at a time in vector registers: no table, and no chain from
 * one byte to the next. What is picked is hashed once over the whole window, so that the index is asked for 32 bytes
 * and not for 8. Each step is a loop of its own without branches that depend on the data.
 */
#include "scan.h"

#include "index.h"

#include <string.h>

enum {
    PICKED = 8,   /* bytes under the picking hash */
    APART = 16,   /* least distance of anchors */
    PIECE = 512,  /* random bytes rarely go as long without an anchor */
    STRIDE = 64,  /* positions judged at a time */
    CHUNK = 4096, /* positions to a turn of the steps */
    AHEAD = 4,    /* written at once: few words of the bitmap have more */
    MOST = CHUNK / APART + CHUNK / PIECE + 2,
};

#define FACTOR_LOW 0x9E3779B1u
#define FACTOR_HIGH 0x85EBCA77u
#define START 0xC2B2AE3Du /* so that equal small bytes (a run of zeros) are not picked everywhere */

static inline uint32_t picking(const uint8_t *raw, size_t end)
{
    uint32_t low, high;

    memcpy(&low, raw + end - 8, 4);
    memcpy(&high, raw + end - 4, 4);
    return low * FACTOR_LOW + high * FACTOR_HIGH + START;
}

static inline uint64_t word(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, 8);
    return value;
}

/* Two chains, so that one multiplication need not wait for the other. */
static inline uint64_t naming(const uint8_t *raw, size_t end)
{
    const uint8_t *at = raw + end - BL_WINDOW;
    uint64_t a = 0x9E3779B97F4A7C15u, b = 0xC2B2AE3D27D4EB4Fu;

    for (int i = 0; i < BL_WINDOW; i += 16) {
        a = (a ^ word(at + i)) * 0xD6E8FEB86659FD93u;
        b = (b ^ word(at + i + 8)) * 0xFF51AFD7ED558CCDu;
        a ^= a >> 32;
        b ^= b >> 32;
    }
    return a + b * 0x9E3779B97F4A7C15u;
}

/* Lists the anchors of `positions` after `end`, the first being 0; returns how many. */
static inline size_t judge_plain(const uint8_t *raw, size_t end, size_t first, size_t positions, uint16_t *out)
{
    size_t count = 0;

    for (size_t i = first; i < positions; i++) {
        out[count] = (uint16_t)i;
        count += picking(raw, end + i + 1) >> (32 - BL_ANCHOR_BITS) == 0;
    }
    return count;
}

#if defined(__x86_64__) && !defined(BL_PLAIN)
#include <immintrin.h>

/* A load at k has positions k, k + 4, k + 8, ... in its lanes: four of them interleave to 32 positions in order. */
__attribute__((target("avx2"))) static inline __m256i judged(const uint8_t *last, int k)
{
    const __m256i low = _mm256_loadu_si256((const __m256i *)(last + k - 7));
    const __m256i high = _mm256_loadu_si256((const __m256i *)(last + k - 3));
    __m256i hash = _mm256_add_epi32(_mm256_mullo_epi32(low, _mm256_set1_epi32((int)FACTOR_LOW)),
                                    _mm256_mullo_epi32(high, _mm256_set1_epi32((int)FACTOR_HIGH)));
    hash = _mm256_srli_epi32(_mm256_add_epi32(hash, _mm256_set1_epi32((int)START)), 32 - BL_ANCHOR_BITS);
    return _mm256_and_si256(_mm256_cmpeq_epi32(hash, _mm256_setzero_si256()), _mm256_set1_epi32((int)(0xFFu << 8 * k)));
}

__attribute__((target("avx2"))) static inline uint32_t judge_32(const uint8_t *last)
{
    const __m256i even = _mm256_or_si256(judged(last, 0), judged(last, 2));
    const __m256i odd = _mm256_or_si256(judged(last, 1), judged(last, 3));
    return (uint32_t)_mm256_movemask_epi8(_mm256_or_si256(even, odd));
}

__attribute__((target("avx2"))) static inline uint64_t judge_64(const uint8_t *last)
{
    return judge_32(last) | (uint64_t)judge_32(last + 32) << 32;
}

/* How many anchors a word holds is not known beforehand, and a loop that ends where nobody guessed costs more than
 * writing AHEAD of them whether they are there or not. */
__attribute__((target("avx2,bmi,popcnt"))) static inline size_t list_bits(uint64_t bits, size_t first, uint16_t *out)
{
    size_t count = (size_t)_mm_popcnt_u64(bits);

    for (size_t n = 0; n < AHEAD || n < count; n++) {
        out[n] = (uint16_t)(first + _tzcnt_u64(bits));
        bits = _blsr_u64(bits);
    }
    return count;
}

__attribute__((target("avx2,bmi,popcnt"))) static size_t judge_avx2(const uint8_t *raw, size_t end, size_t positions,
                                                                    uint16_t *out)
{
    size_t count = 0, i = 0, rest = positions % STRIDE;

    for (; positions - i >= STRIDE; i += STRIDE)
        count += list_bits(judge_64(raw + end + i), i, out + count);
    if (i > 0 && rest) /* once more the last STRIDE, without those that are judged already */
        return count + list_bits(judge_64(raw + end + positions - STRIDE) >> (STRIDE - rest), i, out + count);
    return count + judge_plain(raw, end, i, positions, out + count);
}

static size_t judge(const uint8_t *raw, size_t end, size_t positions, uint16_t *out)
{
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi"))
        return judge_avx2(raw, end, positions, out);
    return judge_plain(raw, end, 0, positions, out);
}
#else
static size_t judge(const uint8_t *raw, size_t end, size_t positions, uint16_t *out)
{
    return judge_plain(raw, end, 0, positions, out);
}
#endif

typedef struct {
    const uint8_t *raw;
    const bl_index *index; /* whose lines will be wanted, or NULL */
    bl_anchor *out;
    size_t count, room;
    size_t last;    /* where the last anchor's window ends, or APART before where the scan began */
    size_t covered; /* the same, or the end of a bare stretch that was seen to since */
    size_t unnamed;
    uint32_t *end; /* anchors that have no name yet */
} list;

/* Where the smallest hash of the PIECE after `from` is, the first if there are several. */
static size_t smallest(const uint8_t *raw, size_t from)
{
    const uint8_t *first = raw + from + 1 - PICKED;
    size_t best_end = from + 1;
    uint32_t best = picking(raw, best_end);

    if (memcmp(first, first + 1, PICKED + PIECE - 2) == 0)
        return best_end; /* a run of one byte: most bare stretches are */
    for (size_t end = from + 2; end <= from + PIECE; end++) {
        uint32_t hash = picking(raw, end);
        if (hash < best) {
            best = hash;
            best_end = end;
        }
    }
    return best_end;
}

/* Stretches without anchors (runs, tables, patterns of a short period) get one in each PIECE. */
static __attribute__((noinline)) void fill(list *l, size_t to)
{
    while (to - l->covered > PIECE) {
        l->last = smallest(l->raw, l->covered);
        l->end[l->unnamed++] = (uint32_t)l->last;
        l->covered += PIECE;
    }
}

/* Of the candidates, in ascending order, those close behind another add nothing. */
static void pick(list *l, size_t from, const uint16_t *candidate, size_t candidates)
{
    size_t last = l->last, covered = l->covered, unnamed = l->unnamed;

    for (size_t i = 0; i < candidates; i++) {
        size_t end = from + candidate[i] + 1, apart;
        if (__builtin_expect(end - covered > PIECE, 0)) {
            l->last = last, l->covered = covered, l->unnamed = unnamed;
            fill(l, end);
            last = l->last, covered = l->covered, unnamed = l->unnamed;
        }
        apart = end - last >= APART;
        l->end[unnamed] = (uint32_t)end;
        unnamed += apart;
        last = apart ? end : last;
        covered = apart ? end : covered;
    }
    l->last = last, l->covered = covered, l->unnamed = unnamed;
}

/* A line of the index comes from memory in the time that the scan takes for a few hundred bytes: ask for it now. */
static void name(list *l)
{
    size_t count = l->unnamed < l->room - l->count ? l->unnamed : l->room - l->count;

    for (size_t i = 0; i < count; i++) {
        uint64_t hash = naming(l->raw, l->end[i]);
        if (l->index)
            __builtin_prefetch(bl_index_place(l->index, hash).bucket, 1);
        l->out[l->count + i] = (bl_anchor){.hash = hash, .end = l->end[i], .slot = BL_UNSEEN};
    }
    l->count += count;
    l->unnamed = 0;
}

size_t bl_scan_for(const bl_index *index, const uint8_t *raw, size_t from, size_t to, bl_anchor *out, size_t room)
{
    uint16_t candidate[CHUNK + AHEAD];
    uint32_t unnamed[MOST];

    if (from < BL_WINDOW - 1)
        from = BL_WINDOW - 1;
    if (from >= to)
        return 0;
    list l = {raw, index, out, 0, room, from - APART, from, 0, unnamed};
    while (from < to) {
        size_t positions = to - from < CHUNK ? to - from : CHUNK;
        pick(&l, from, candidate, judge(raw, from, positions, candidate));
        from += positions;
        fill(&l, from);
        name(&l);
    }
    return l.count;
}

size_t bl_scan(const uint8_t *raw, size_t from, size_t to, bl_anchor *out, size_t room)
{
    return bl_scan_for(NULL, raw, from, to, out, room);
}
