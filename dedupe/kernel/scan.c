/* Anchors: positions where the gear hash of the 64 bytes before them has zeros on top.
 *
 * h = 2h + gear[byte]: after 64 steps a byte has left the 64-bit word, so the window is exactly 64 bytes and
 * the top bits depend on all of it. (Gear: Xia et al., "Ddelta", 2014.) Its weakness: low bits depend on the
 * last bytes only, so neither the test nor the index uses them unmixed.
 */
#include "scan.h"

enum { LANES = 4, LANE = 4096 };

/* Hash of the window that ends before `at`; at >= BL_WINDOW - 1, one byte short of a window is warmed. */
static inline uint64_t warmed(const uint8_t *raw, size_t at)
{
    uint64_t hash = 0;
    for (size_t i = at - (BL_WINDOW - 1); i < at; i++)
        hash = (hash << 1) + bl_gear[raw[i]];
    return hash;
}

/* A run of one byte is an anchor at every position or at none: keep the first of each run. */
static inline size_t keep(bl_anchor *out, size_t count, size_t room, uint64_t hash, size_t end, uint64_t *last,
                          size_t *last_end)
{
    int same = hash == *last && end == *last_end + 1;
    *last = hash;
    *last_end = end;
    if (same || count == room)
        return count;
    out[count].hash = hash;
    out[count].end = (uint32_t)end;
    return count + 1;
}

size_t bl_scan_plain(const uint8_t *raw, size_t from, size_t to, bl_anchor *out, size_t room)
{
    size_t count = 0, last_end = 0;
    uint64_t hash, last = 0;

    if (from < BL_WINDOW - 1)
        from = BL_WINDOW - 1;
    if (from >= to)
        return 0;
    hash = warmed(raw, from);
    for (size_t i = from; i < to; i++) {
        hash = (hash << 1) + bl_gear[raw[i]];
        if (bl_is_anchor(hash))
            count = keep(out, count, room, hash, i + 1, &last, &last_end);
    }
    return count;
}

/* Four lanes, each a quarter of the stretch: one lane waits for its own last step, four do not. */
static size_t scan_lanes(const uint8_t *raw, size_t from, size_t quarter, bl_anchor *out, size_t room,
                         uint64_t *last, size_t *last_end)
{
    uint64_t hash[LANES], hashes[LANES][LANE];
    uint16_t places[LANES][LANE];
    size_t found[LANES] = {0}, count = 0;
    const uint8_t *base[LANES];

    for (int lane = 0; lane < LANES; lane++) {
        base[lane] = raw + from + (size_t)lane * quarter;
        hash[lane] = warmed(raw, from + (size_t)lane * quarter);
    }
    for (size_t i = 0; i < quarter; i++) {
        for (int lane = 0; lane < LANES; lane++) {
            hash[lane] = (hash[lane] << 1) + bl_gear[base[lane][i]];
            if (__builtin_expect(bl_is_anchor(hash[lane]), 0)) {
                hashes[lane][found[lane]] = hash[lane];
                places[lane][found[lane]++] = (uint16_t)i;
            }
        }
    }
    for (int lane = 0; lane < LANES; lane++)
        for (size_t i = 0; i < found[lane]; i++)
            count = keep(out, count, room, hashes[lane][i], from + (size_t)lane * quarter + places[lane][i] + 1,
                         last, last_end);
    return count;
}

size_t bl_scan(const uint8_t *raw, size_t from, size_t to, bl_anchor *out, size_t room)
{
    size_t count = 0, last_end = 0;
    uint64_t hash, last = 0;

    if (from < BL_WINDOW - 1)
        from = BL_WINDOW - 1;
    while (to > from && to - from >= LANES * 256) {
        size_t quarter = (to - from) / LANES;
        if (quarter > LANE)
            quarter = LANE;
        count += scan_lanes(raw, from, quarter, out + count, room - count, &last, &last_end);
        from += LANES * quarter;
    }
    if (from >= to)
        return count;
    hash = warmed(raw, from);
    for (size_t i = from; i < to; i++) {
        hash = (hash << 1) + bl_gear[raw[i]];
        if (bl_is_anchor(hash))
            count = keep(out, count, room, hash, i + 1, &last, &last_end);
    }
    return count;
}
