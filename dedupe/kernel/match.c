/* The encoder's search: anchors are looked up, compared, extended both ways and written as tokens. */
#include "index.h"
#include "log.h"
#include "scan.h"
#include "token.h"

#include <string.h>

enum {
    FIRST_STEP = 1024, /* after a match the next one usually starts right there */
    LAST_STEP = 16384,
    LEAST = 32,      /* a shorter match costs more than its literals do */
    HINT_LEAST = 16, /* unless it is the whole of a small message */
    NEAR = 32768,
};

typedef struct {
    const bl_search *search;
    bl_found *found;
    const uint8_t *raw;
    size_t length;
    size_t cursor; /* end of the last copy */
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
    return copy->length >= LEAST || (copy->length == s->length && copy->length >= HINT_LEAST);
}

/* The longest match through this anchor. */
static int try_anchor(const state *s, const bl_anchor *anchor, bl_copy *best)
{
    const bl_search *search = s->search;
    bl_place place = bl_index_place(search->index, anchor->hash);

    best->length = 0;
    for (int i = 0; i < BL_BUCKET; i++) {
        uint64_t entry = bl_entry_load(&place.bucket[i]), offset;
        uint32_t log_id = bl_entry_log(entry);
        const bl_view *view;
        const bl_range *range;
        size_t back, ahead, most;

        if (entry == 0 || bl_entry_tag(entry) != place.tag || log_id >= BL_LOGS)
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
        if (anchor->end + ahead >= s->cursor + LEAST && back + ahead >= LEAST && back + ahead > best->length)
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

static int search_block(state *s)
{
    const bl_search *search = s->search;
    bl_found *found = s->found;
    size_t scanned = 0, step = FIRST_STEP;
    bl_copy copy;

    if (!search->copy && !search->store)
        return BL_OK;
    if (search->copy && try_hint(s, &copy)) {
        refresh(s, &copy);
        take(s, copy);
        scanned = s->cursor;
        if (relogged(s, &found->copy[0]))
            scan(s, 0, scanned);
    }
    while (scanned < s->length) {
        size_t to = s->length - scanned < step ? s->length : scanned + step, next = found->anchors;

        scan(s, scanned, to);
        scanned = to;
        step = step * 2 < LAST_STEP ? step * 2 : LAST_STEP;
        if (!search->copy)
            continue;
        while (next < found->anchors) {
            size_t here = next++;
            const bl_anchor *anchor = &found->anchor[here];
            if (anchor->end <= s->cursor || !try_anchor(s, anchor, &copy))
                continue;
            if (found->copies == found->copy_room)
                return BL_LENGTH;
            if (refresh(s, &copy) && here > s->looked) {
                s->looked = here;
                next = look_again(s, &copy, here);
                continue;
            }
            take(s, copy);
            /* What is logged again needs its anchors in the index; what is not need not even be scanned. */
            if (s->cursor > scanned && copy.length < search->relog_below && search->store)
                scan(s, scanned, s->cursor);
            if (s->cursor > scanned)
                scanned = s->cursor;
            step = FIRST_STEP;
        }
    }
    return BL_OK;
}

static void write_literal(const state *s, bl_writer *writer, size_t from, size_t to)
{
    bl_found *found = s->found;
    bl_token token = {.length = to - from, .logged = s->search->store != 0};

    if (from == to)
        return;
    if (found->copies)
        memcpy(found->literal + found->literal_length, s->raw + from, to - from);
    bl_token_write(writer, &token);
    found->literal_length += token.length;
    found->logged_length += token.logged ? token.length : 0;
}

static void write_tokens(const state *s)
{
    bl_found *found = s->found;
    bl_writer writer = {found->token, {0}};
    size_t done = 0;

    for (size_t i = 0; i < found->copies; i++) {
        const bl_copy *copy = &found->copy[i];
        bl_token token = {.copy = 1, .length = copy->length, .offset = copy->offset, .log = copy->log};
        token.logged = relogged(s, copy) != 0;
        write_literal(s, &writer, done, copy->start);
        bl_token_write(&writer, &token);
        found->copied += token.length;
        found->logged_length += token.logged ? token.length : 0;
        found->reverse |= token.log == 1;
        done = copy->start + token.length;
    }
    write_literal(s, &writer, done, s->length);
    found->token_length = (size_t)(writer.at - found->token);
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
