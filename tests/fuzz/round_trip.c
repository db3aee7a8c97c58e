/* libFuzzer target: what the encoder's search makes of any bytes, the decoder turns back into them.
 *
 * The input is cut into blocks that are encoded in turn; a byte of control before each says how.
 */
#include "kernel.h"

#include <stdlib.h>
#include <string.h>

enum { SEGMENT_BITS = 12, SEGMENTS = 4, SPAN = 3 << SEGMENT_BITS, BUCKET_BITS = 6, LARGEST = 4096 };

typedef struct {
    bl_log log;
    bl_index index;
    bl_range held;
} side;

static side make_side(void)
{
    side s = {{malloc(SEGMENTS * sizeof(uint8_t *)), SEGMENT_BITS, SEGMENTS}, {NULL, 1 << BUCKET_BITS, {0}, {0}}, {0, 0}};
    size_t bytes = sizeof(uint64_t) * (BL_BUCKET << BUCKET_BITS);

    for (uint32_t i = 0; i < SEGMENTS; i++)
        s.log.segment[i] = calloc(1, (size_t)1 << SEGMENT_BITS);
    s.index.entry = aligned_alloc(64, bytes);
    memset(s.index.entry, 0, bytes);
    return s;
}

static void free_side(side *s)
{
    for (uint32_t i = 0; i < SEGMENTS; i++)
        free(s->log.segment[i]);
    free(s->log.segment);
    free(s->index.entry);
}

static void must(int good)
{
    if (!good)
        abort();
}

/* Both sides' ranges move on alike: the newest SPAN bytes. */
static void advance(side *s, uint64_t logged)
{
    s->held.end += logged;
    if (s->held.end - s->held.start > SPAN)
        s->held.start = s->held.end - SPAN;
}

static void block(side *from, side *to, const uint8_t *raw, uint32_t length, uint8_t control, bl_found *last)
{
    size_t copies = length / 32 + 2;
    bl_range held = from->held;
    uint64_t oldest[BL_LOGS], lowest = from->held.end + length > SPAN ? from->held.end + length - SPAN : 0;
    bl_found found = {.token_room = copies * BL_TOKEN_MAX, .anchor_room = length / 16 + 1, .copy_room = copies};
    bl_search search = {.index = &from->index, .copy = !(control & 1), .store = !(control & 2),
                        .relog_below = control & 4 ? 100 : 100000, .hint_log = last->next_log,
                        .hint_offset = last->next_offset, .hint_run = last->next_run};
    uint8_t *out = malloc(length ? length : 1);

    if (held.start < lowest)
        held.start = lowest;
    search.view[0] = (bl_view){&from->log, &held, held.start < held.end};
    search.view[1] = (bl_view){NULL, NULL, 0};
    found.token = malloc(found.token_room);
    found.literal = malloc(length ? length : 1);
    found.anchor = malloc(found.anchor_room * sizeof(bl_anchor));
    found.copy = malloc(found.copy_room * sizeof(bl_copy));
    must(bl_match(&search, raw, length, &found) == BL_OK);
    must(found.literal_length + found.copied == length);

    const uint8_t *literal = found.literal_length == length ? raw : found.literal;
    bl_view view[BL_LOGS] = {{&to->log, &to->held, to->held.start < to->held.end}, {NULL, NULL, 0}};
    must(bl_decode(view, found.token, found.token_length, literal, found.literal_length, out, length, oldest) == BL_OK);
    must(memcmp(out, raw, length) == 0);
    must(bl_append(&from->log, &from->index, 0, from->held.end, found.token, found.token_length, raw, length,
                   found.anchor, found.anchors) == BL_OK);
    must(bl_append(&to->log, &to->index, 1, to->held.end, found.token, found.token_length, out, length, NULL, 0) ==
         BL_OK);
    advance(from, found.logged_length);
    advance(to, found.logged_length);
    free(found.token);
    free(found.literal);
    free(found.anchor);
    free(found.copy);
    free(out);
    *last = found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    side from = make_side(), to = make_side();
    bl_found last = {0};

    /* A control byte with the high bit sends the last bytes once more, as real traffic does. */
    const uint8_t *again = data;
    uint32_t again_length = 0;
    for (size_t at = 0; at + 2 < size;) {
        uint8_t control = data[at];
        uint32_t length = (uint32_t)data[at + 1] * 16;
        at += 2;
        if (control & 0x80) {
            uint32_t start = again_length ? control % again_length : 0;
            block(&from, &to, again + start, again_length - start, control, &last);
            continue;
        }
        if (length > size - at)
            length = (uint32_t)(size - at);
        block(&from, &to, data + at, length, control, &last);
        again = data + at;
        again_length = length;
        at += length;
    }
    free_side(&from);
    free_side(&to);
    return 0;
}
