/* Anchors: positions where the gear hash of the 64 bytes before them has zeros on top.
 *
 * h = 2h + gear[byte]: after 64 steps a byte has left the 64-bit word, so the window is exactly 64 bytes and
 * the top bits depend on all of it. (Gear: Xia et al., "Ddelta", 2014.) Its weakness: low bits depend on the
 * last bytes only, so neither the test nor the index uses them unmixed.
 */
#include "scan.h"

#include "index.h"

enum {
    APART = 16,   /* least distance of anchors */
    PIECE = 512,  /* random bytes rarely go as long without an anchor */
    LANES = 4,
    NARROWEST = 128, /* a lane of fewer bytes is mostly warming up */
    WIDEST = 1024,
};

/* Hash of the window that ends before `at`; at >= BL_WINDOW - 1, one byte short of a window is warmed. */
static inline uint64_t warmed(const uint8_t *raw, size_t at)
{
    uint64_t hash = 0;
    for (size_t i = at - (BL_WINDOW - 1); i < at; i++)
        hash = (hash << 1) + bl_gear[raw[i]];
    return hash;
}

typedef struct {
    const bl_index *index; /* whose lines will be wanted, or NULL */
    bl_anchor *out;
    size_t count, room;
    size_t covered; /* where the last anchor's window ends, or where the scan began */
} list;

/* A line comes from memory in the time that a lane takes for a hundred bytes: ask for it as soon as it is known. */
static inline void ask(const bl_index *index, uint64_t hash)
{
    if (index)
        __builtin_prefetch(bl_index_place(index, hash).bucket, 1);
}

static void put(list *l, uint64_t hash, size_t end)
{
    if (l->count < l->room) {
        l->out[l->count].hash = hash;
        l->out[l->count++].end = (uint32_t)end;
    }
    l->covered = end;
}

/* Stretches without anchors (runs, tables, patterns of a short period) get the smallest hash of each PIECE. */
static void fill(list *l, const uint8_t *raw, size_t to)
{
    while (to - l->covered > PIECE) {
        size_t from = l->covered, best_end = 0;
        uint64_t hash = warmed(raw, from), best = 0;
        for (size_t i = from; i < from + PIECE; i++) {
            hash = (hash << 1) + bl_gear[raw[i]];
            if (best_end == 0 || hash < best) {
                best = hash;
                best_end = i + 1;
            }
        }
        ask(l->index, best);
        put(l, best, best_end);
        l->covered = from + PIECE;
    }
}

/* Anchors come in ascending order; those close behind another add nothing. */
static __attribute__((noinline)) void found(list *l, const uint8_t *raw, uint64_t hash, size_t end)
{
    if (l->count && end - l->out[l->count - 1].end < APART)
        return;
    fill(l, raw, end);
    put(l, hash, end);
}

/* One byte further. A macro of statements, because lanes must stay in registers. */
#define ROLL(lane, at) hash[lane] = (hash[lane] << 1) + bl_gear[raw[(lane) * width + (at)]]

#define LOOK(lane, at)                                                                                                 \
    do {                                                                                                               \
        ROLL(lane, at);                                                                                                \
        if (__builtin_expect(bl_is_anchor(hash[lane]), 0)) {                                                           \
            ask(index, hash[lane]);                                                                                    \
            spot[lane][count[lane]].hash = hash[lane];                                                                 \
            spot[lane][count[lane]++].end = (uint32_t)((lane) * width + (at) + 1);                                     \
        }                                                                                                              \
    } while (0)

/* Four stretches of `width` bytes side by side: each step waits for the one before it, those of other lanes do not. */
static void scan_lanes(list *l, const uint8_t *raw, size_t from, size_t width)
{
    const bl_index *index = l->index;
    bl_anchor spot[LANES][WIDEST];
    uint64_t hash[LANES] = {0};
    size_t count[LANES] = {0};

    raw += from - (BL_WINDOW - 1);
    for (size_t i = 0; i < BL_WINDOW - 1; i++) {
        ROLL(0, i);
        ROLL(1, i);
        ROLL(2, i);
        ROLL(3, i);
    }
    raw += BL_WINDOW - 1;
    for (size_t i = 0; i < width; i++) {
        LOOK(0, i);
        LOOK(1, i);
        LOOK(2, i);
        LOOK(3, i);
    }
    raw -= from;
    for (int lane = 0; lane < LANES; lane++)
        for (size_t i = 0; i < count[lane]; i++)
            found(l, raw, spot[lane][i].hash, from + spot[lane][i].end);
}

size_t bl_scan_for(const bl_index *index, const uint8_t *raw, size_t from, size_t to, bl_anchor *out, size_t room)
{
    uint64_t hash;

    if (from < BL_WINDOW - 1)
        from = BL_WINDOW - 1;
    if (from >= to)
        return 0;
    list l = {index, out, 0, room, from};
    while (to - from >= LANES * NARROWEST) {
        size_t width = (to - from) / LANES < WIDEST ? (to - from) / LANES : WIDEST;
        scan_lanes(&l, raw, from, width);
        from += LANES * width;
    }
    hash = warmed(raw, from);
    for (size_t i = from; i < to; i++) {
        hash = (hash << 1) + bl_gear[raw[i]];
        if (__builtin_expect(bl_is_anchor(hash), 0)) {
            ask(index, hash);
            found(&l, raw, hash, i + 1);
        }
    }
    fill(&l, raw, to);
    return l.count;
}

size_t bl_scan(const uint8_t *raw, size_t from, size_t to, bl_anchor *out, size_t room)
{
    return bl_scan_for(NULL, raw, from, to, out, room);
}
