/* The encoder's search: anchors are looked up, compared, extended both ways and written as tokens. */
#include "index.h"
#include "log.h"
#include "scan.h"
#include "token.h"

#include <string.h>

enum {
    FIRST_STEP = 1024, /* after a match the next one usually starts right there */
    LAST_STEP = 16384,
    LEAST = 32,        /* a shorter match through an anchor costs more than its literals do, */
    LEAST_FAR = 64,    /* the more so if its offset takes many bytes to write */
    LEAST_WOVEN = 12,  /* at a known distance it takes none */
    PROBE = 16,        /* equal bytes that are worth a look whether they belong to a long stretch */
    LEAST_RESUMED = 512,
    LEAST_HINT = 16,   /* the whole of a small message */
    FOLLOWED = 256,    /* bytes that are compared at a known distance before giving up */
    NEAR = 32768,
};

typedef struct {
    const bl_search *search;
    bl_found *found;
    const uint8_t *raw;
    size_t length;
    size_t cursor;  /* end of the last copy */
    size_t scanned; /* anchors before are listed or not wanted */
    size_t fixed;  /* copies that end here or before are not taken back */
    size_t looked; /* the last anchor before which was looked again */
} state;

/* A long match found later may reach back over short ones that chance found first: it takes their place. */
static void take_back(state *s, size_t start)
{
    bl_found *found = s->found;

    while (found->copies) {
        bl_copy *last = &found->copy[found->copies - 1];
        if (last->start + last->length <= start)
            break;
        if (last->start + LEAST <= start) {
            last->length = (uint32_t)(start - last->start);
            break;
        }
        found->copies--;
    }
}

/* Whether the bytes of a copy are logged again. One that the block's end cuts off may go on in the next block:
 * it is no fragment yet. */
static int relogged(const state *s, const bl_copy *copy)
{
    return s->search->store && copy->run < s->search->relog_below && copy->start + copy->length < s->length;
}

static void take(state *s, bl_copy copy)
{
    take_back(s, copy.start);
    copy.run += copy.length;
    s->found->copy[s->found->copies++] = copy;
    s->cursor = copy.start + copy.length;
    if (copy.run >= s->search->relog_below)
        s->fixed = s->cursor;
}

static int try_hint(const state *s, bl_copy *copy)
{
    const bl_search *search = s->search;
    const bl_view *view;
    const bl_range *range;
    size_t most = s->length;

    if (search->hint_offset == 0 || search->hint_log >= BL_LOGS)
        return 0;
    view = &search->view[search->hint_log];
    range = bl_view_range(view, search->hint_offset, search->hint_offset);
    if (!range)
        return 0;
    if (most > range->end - search->hint_offset)
        most = (size_t)(range->end - search->hint_offset);
    *copy = (bl_copy){.offset = search->hint_offset, .run = search->hint_run, .log = search->hint_log};
    copy->length = (uint32_t)bl_log_forward(view->log, copy->offset, s->raw, most);
    return copy->length >= LEAST || (copy->length == s->length && copy->length >= LEAST_HINT);
}

static inline size_t least(const bl_found *found, uint32_t log_id, uint64_t offset)
{
    const bl_copy *last;

    if (found->copies == 0)
        return LEAST_FAR;
    last = &found->copy[found->copies - 1];
    return last->log == log_id && offset - last->offset + NEAR < 2 * NEAR ? LEAST : LEAST_FAR;
}

/* The longest match through this anchor. */
static int try_anchor(const state *s, bl_anchor *anchor, bl_copy *best)
{
    const bl_search *search = s->search;
    bl_place place = bl_index_place(search->index, anchor->hash);
    bl_look look = bl_index_look(search->index, place, 0);

    anchor->slot = look.slot;
    best->length = 0;
    for (; look.alike; look.alike &= look.alike - 1) {
        uint64_t entry = bl_entry_load(&place.bucket[__builtin_ctz(look.alike)]), offset;
        uint32_t log_id = bl_entry_log(entry);
        const bl_view *view;
        const bl_range *range;
        size_t back, ahead, most;

        if (log_id >= BL_LOGS)
            continue;
        view = &search->view[log_id];
        if (view->ranges == 0)
            continue;
        offset = bl_entry_offset(entry, view->range[view->ranges - 1].end);
        if (offset == 0 || !(range = bl_view_range(view, offset - 1, offset)))
            continue;
        most = anchor->end - s->fixed;
        if (most > offset - range->start)
            most = (size_t)(offset - range->start);
        back = bl_log_backward(view->log, offset, s->raw + anchor->end, most);
        most = s->length - anchor->end;
        if (most > range->end - offset)
            most = (size_t)(range->end - offset);
        ahead = bl_log_forward(view->log, offset, s->raw + anchor->end, most);
        most = least(s->found, log_id, offset);
        if (anchor->end + ahead >= s->cursor + most && back + ahead >= most && back + ahead > best->length)
            *best = (bl_copy){.start = (uint32_t)(anchor->end - back),
                              .length = (uint32_t)(back + ahead),
                              .offset = offset - back,
                              .log = log_id};
    }
    return best->length > 0;
}

/* Where a copy breaks off inside the block, what comes next is most likely close by in the log, before and behind:
 * if the index is thin there, fill it. Returns whether there is more to find now. */
static int refresh(const state *s, const bl_copy *copy)
{
    const bl_search *search = s->search;
    const bl_view *view = &search->view[copy->log];
    int filled = 0;

    if (copy->start > s->cursor)
        filled = bl_index_refresh(search->index, view, copy->log, copy->offset - (copy->offset < NEAR ? 0 : NEAR)) |
                 bl_index_refresh(search->index, view, copy->log, copy->offset);
    if (copy->start + copy->length < s->length) {
        uint64_t end = copy->offset + copy->length;
        bl_index_refresh(search->index, view, copy->log, end);
        bl_index_refresh(search->index, view, copy->log, end + NEAR);
    }
    return filled;
}

/* The first anchor not yet covered that lies at most NEAR before the copy. */
static size_t look_again(const state *s, const bl_copy *copy, size_t next)
{
    size_t low = copy->start > s->cursor + NEAR ? copy->start - NEAR : s->cursor;

    while (next && s->found->anchor[next - 1].end > low)
        next--;
    return next;
}

/* Anchors of [from, to) join the block's list. */
static void scan(state *s, size_t from, size_t to)
{
    bl_found *found = s->found;

    found->anchors += bl_scan_for(s->search->index, s->raw, from, to, found->anchor + found->anchors,
                                  found->anchor_room - found->anchors);
}

/* Goes past a copy. What is logged again needs its anchors in the index; what is not need not even be scanned. */
static void pass(state *s, const bl_copy *copy)
{
    size_t end;

    take(s, *copy);
    end = s->found->copy[s->found->copies - 1].run < s->search->relog_below ? s->cursor : copy->start;
    if (s->search->store && end > s->scanned)
        scan(s, s->scanned, end);
    if (s->cursor > s->scanned)
        s->scanned = s->cursor;
}

/* Bytes changed in place leave what follows them where it was: a long stretch that is equal soon after the last copy,
 * at its distance, is as good as any that the index could find, and found sooner. */
static int resume(const state *s, bl_copy *copy)
{
    const bl_copy *last = &s->found->copy[s->found->copies - 1];
    const bl_view *view = &s->search->view[last->log];
    uint64_t offset = last->offset + last->length;
    const bl_range *range = bl_view_range(view, offset, offset);
    size_t most = s->length - s->cursor, reach, length;
    const uint8_t *raw = s->raw + s->cursor, *log;

    if (!range || s->found->copies == s->found->copy_room)
        return 0;
    if (most > range->end - offset)
        most = (size_t)(range->end - offset);
    log = bl_log_at(view->log, offset, &reach);
    if (reach > most)
        reach = most;
    for (size_t at = 0; at + PROBE <= reach && at < FOLLOWED; at += 8) {
        if (memcmp(raw + at, log + at, PROBE) != 0)
            continue;
        length = bl_log_forward(view->log, offset + at, raw + at, most - at);
        if (length >= LEAST_RESUMED) {
            for (; at && raw[at - 1] == log[at - 1]; at--)
                length++;
            *copy = (bl_copy){.start = (uint32_t)(s->cursor + at),
                              .length = (uint32_t)length,
                              .offset = offset + at,
                              .log = last->log};
            return 1;
        }
        at += length & ~(size_t)7;
    }
    return 0;
}

static int search_block(state *s)
{
    const bl_search *search = s->search;
    bl_found *found = s->found;
    size_t step = FIRST_STEP;
    bl_copy copy;

    if (!search->copy && !search->store)
        return BL_OK;
    if (search->copy && try_hint(s, &copy)) {
        refresh(s, &copy);
        do
            pass(s, &copy);
        while (resume(s, &copy));
    }
    while (s->scanned < s->length) {
        size_t to = s->length - s->scanned < step ? s->length : s->scanned + step, next = found->anchors;

        scan(s, s->scanned, to);
        s->scanned = to;
        step = step * 2 < LAST_STEP ? step * 2 : LAST_STEP;
        if (!search->copy)
            continue;
        while (next < found->anchors) {
            size_t here = next++;
            bl_anchor *anchor = &found->anchor[here];
            if (anchor->end <= s->cursor || !try_anchor(s, anchor, &copy))
                continue;
            if (found->copies == found->copy_room)
                return BL_LENGTH;
            if (refresh(s, &copy) && here > s->looked) {
                s->looked = here;
                next = look_again(s, &copy, here);
                continue;
            }
            do
                pass(s, &copy);
            while (resume(s, &copy));
            step = FIRST_STEP;
        }
    }
    return BL_OK;
}

/* Tokens are written in the order of the block. */
typedef struct {
    const state *s;
    bl_writer writer;
    const uint8_t *end; /* of their room, */
    size_t reserved;    /* of which so much is needed for what is found already */
    size_t done;        /* where the last one ends */
} scribe;

static void write_literal(scribe *w, size_t to)
{
    bl_found *found = w->s->found;
    bl_token token = {.length = to - w->done, .logged = w->s->search->store != 0};

    if (w->done == to)
        return;
    if (found->copies)
        memcpy(found->literal + found->literal_length, w->s->raw + w->done, to - w->done);
    bl_token_write(&w->writer, &token);
    found->literal_length += token.length;
    found->logged_length += token.logged ? token.length : 0;
    w->done = to;
}

static void write_copy(scribe *w, const bl_copy *copy)
{
    bl_found *found = w->s->found;
    bl_token token = {.copy = 1, .length = copy->length, .offset = copy->offset, .log = copy->log};

    token.logged = relogged(w->s, copy) != 0;
    write_literal(w, copy->start);
    bl_token_write(&w->writer, &token);
    found->copied += token.length;
    found->logged_length += token.logged ? token.length : 0;
    found->reverse |= token.log == 1;
    w->done = copy->start + token.length;
}

/* Bytes changed in place leave those around them where they were: writes the stretches of [done, to) that are equal at
 * the distance of a copy beside them, though too short to hold an anchor. Stops where none came for a while. */
static void weave(scribe *w, const bl_copy *beside, size_t from, size_t to)
{
    const bl_view *view = &w->s->search->view[beside->log];
    uint64_t shift = beside->offset - beside->start; /* modulo 2^64 */
    const bl_range *range = bl_view_range(view, shift + from, shift + from);
    const uint8_t *raw = w->s->raw + from, *log;
    size_t most = to - from, reach, last = 0, equal = 0;

    if (!range || most < LEAST_WOVEN)
        return;
    if (most > range->end - (shift + from))
        most = (size_t)(range->end - (shift + from));
    log = bl_log_at(view->log, shift + from, &reach);
    if (most > reach)
        most = reach;
    for (size_t at = 0; at + 8 <= most && at < last + FOLLOWED; at += 8) {
        size_t start, end;
        if (memcmp(raw + at, log + at, 8) == 0) {
            equal += 8;
            if (at + 16 <= most)
                continue;
            at += 8;
        }
        if (equal) {
            for (start = at - equal; start > last && raw[start - 1] == log[start - 1];)
                start--;
            for (end = at; end < most && raw[end] == log[end];)
                end++;
            if ((size_t)(w->end - w->writer.at) < w->reserved + 2 * BL_TOKEN_MAX)
                return;
            /* A run of one byte costs less as literals. */
            if (end - start >= LEAST_WOVEN && memcmp(raw + start, raw + start + 1, end - start - 1) != 0)
                write_copy(w, &(bl_copy){.start = (uint32_t)(from + start),
                                         .length = (uint32_t)(end - start),
                                         .offset = shift + from + start,
                                         .log = beside->log});
            if (end - start >= LEAST_WOVEN)
                last = end;
        }
        equal = 0;
    }
}

static void write_tokens(const state *s)
{
    bl_found *found = s->found;
    scribe w = {.s = s, .writer = {.at = found->token}, .end = found->token + found->token_room};

    for (size_t i = 0; i <= found->copies; i++) {
        const bl_copy *copy = &found->copy[i];
        size_t to = i < found->copies ? copy->start : s->length;
        w.reserved = (found->copies - i + 1) * BL_TOKEN_MAX;
        if (i > 0)
            weave(&w, copy - 1, w.done, to);
        if (i < found->copies) {
            weave(&w, copy, to - w.done > FOLLOWED ? to - FOLLOWED : w.done, to);
            write_copy(&w, copy);
        }
    }
    write_literal(&w, s->length);
    found->token_length = (size_t)(w.writer.at - found->token);
}

/* Where this flow would go on: after the last copy, the same distance on (a byte changed in place leaves the
 * rest where it was). */
static void write_hint(const state *s)
{
    bl_found *found = s->found;
    const bl_copy *last;

    found->next_log = 0;
    found->next_offset = found->next_run = 0;
    if (found->copies == 0)
        return;
    last = &found->copy[found->copies - 1];
    found->next_log = last->log;
    found->next_offset = last->offset + (s->length - last->start);
    if (last->start + last->length == s->length)
        found->next_run = last->run;
}

int bl_match(const bl_search *search, const uint8_t *raw, size_t length, bl_found *found)
{
    state s = {.search = search, .found = found, .raw = raw, .length = length};
    int status;

    found->token_length = found->literal_length = found->logged_length = found->copied = 0;
    found->anchors = found->copies = found->reverse = 0;
    if (length > UINT32_MAX / 2)
        return BL_LENGTH;
    status = search_block(&s);
    /* Each copy comes with at most one literal before it, and one literal may end the block. */
    if (status == BL_OK && found->token_room < (found->copies + 1) * BL_TOKEN_MAX)
        status = BL_LENGTH;
    if (status != BL_OK)
        return status;
    write_tokens(&s);
    write_hint(&s);
    return BL_OK;
}
