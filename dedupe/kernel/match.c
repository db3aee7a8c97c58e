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
};

typedef struct {
    const bl_search *search;
    bl_found *found;
    const uint8_t *raw;
    size_t length;
    size_t cursor; /* everything before it is in tokens */
    size_t literal;
    bl_writer writer;
} state;

typedef struct {
    size_t start, length;
    uint64_t offset, run;
    uint32_t log;
} match;

static void put_literal(state *s, size_t end)
{
    size_t length = end - s->cursor;
    bl_token token = {.length = length, .logged = s->search->store != 0};

    if (length == 0)
        return;
    if (length < s->length)
        memcpy(s->found->literal + s->literal, s->raw + s->cursor, length);
    bl_token_write(&s->writer, &token);
    s->literal += length;
    if (token.logged)
        s->found->logged_length += length;
    s->cursor = end;
}

static int put_copy(state *s, const match *m)
{
    size_t end = m->start + m->length;
    uint64_t run = m->start == 0 ? m->run + m->length : m->length;
    bl_token token = {.copy = 1, .length = m->length, .offset = m->offset, .log = m->log};

    put_literal(s, m->start);
    /* A match that the block's end cuts off may go on in the next block: it is no fragment yet. */
    token.logged = s->search->store && run < s->search->relog_below && end < s->length;
    bl_token_write(&s->writer, &token);
    s->cursor = end;
    s->found->copies++;
    s->found->copied += m->length;
    s->found->reverse |= m->log == 1;
    if (token.logged)
        s->found->logged_length += m->length;
    s->found->next_log = m->log;
    s->found->next_offset = m->offset + m->length;
    s->found->next_run = end == s->length ? run : 0;
    return token.logged;
}

static int try_hint(const state *s, match *m)
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
    m->start = 0;
    m->offset = search->hint_offset;
    m->log = search->hint_log;
    m->run = search->hint_run;
    m->length = bl_log_forward(view->log, m->offset, s->raw, most);
    return m->length >= LEAST || (m->length == s->length && m->length >= HINT_LEAST);
}

static int try_anchor(const state *s, const bl_anchor *anchor, match *best)
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
        most = anchor->end - s->cursor;
        if (most > offset - range->start)
            most = (size_t)(offset - range->start);
        back = bl_log_backward(view->log, offset, s->raw + anchor->end, most);
        most = s->length - anchor->end;
        if (most > range->end - offset)
            most = (size_t)(range->end - offset);
        ahead = bl_log_forward(view->log, offset, s->raw + anchor->end, most);
        if (back + ahead > best->length)
            *best = (match){anchor->end - back, back + ahead, offset - back, 0, log_id};
    }
    return best->length >= LEAST;
}

static void prefetch(const bl_index *index, const bl_anchor *anchor, size_t count)
{
    for (size_t i = 0; i < count; i++)
        __builtin_prefetch(bl_index_place(index, anchor[i].hash).bucket);
}

/* Anchors of [from, to) join the block's list. */
static void scan(state *s, size_t from, size_t to)
{
    bl_found *found = s->found;

    found->anchors += bl_scan(s->raw, from, to, found->anchor + found->anchors, found->anchor_room - found->anchors);
}

static int room_for_copy(const state *s)
{
    size_t used = (size_t)(s->writer.at - s->found->token);
    return used + 3 * BL_TOKEN_MAX <= s->found->token_room;
}

int bl_match(const bl_search *search, const uint8_t *raw, size_t length, bl_found *found)
{
    state s = {.search = search, .found = found, .raw = raw, .length = length, .writer = {found->token, {0}}};
    size_t scanned = 0, step = FIRST_STEP;
    match m;

    found->token_length = found->literal_length = found->logged_length = found->copied = 0;
    found->anchors = found->copies = found->reverse = 0;
    found->next_log = 0;
    found->next_offset = found->next_run = 0;
    if (length > UINT32_MAX / 2 || found->token_room < 3 * BL_TOKEN_MAX)
        return BL_LENGTH;
    if (search->copy && try_hint(&s, &m)) {
        scanned = m.length;
        if (put_copy(&s, &m))
            scan(&s, 0, scanned);
    }
    while (scanned < length) {
        size_t to = length - scanned < step ? length : scanned + step, next = found->anchors;

        scan(&s, scanned, to);
        scanned = to;
        step = step * 2 < LAST_STEP ? step * 2 : LAST_STEP;
        if (!search->copy)
            continue;
        prefetch(search->index, found->anchor + next, found->anchors - next);
        for (; next < found->anchors; next++) {
            const bl_anchor *anchor = &found->anchor[next];
            if (anchor->end <= s.cursor || !room_for_copy(&s) || !try_anchor(&s, anchor, &m))
                continue;
            /* What is logged again needs its anchors in the index; what is not need not even be scanned. */
            if (put_copy(&s, &m) && s.cursor > scanned)
                scan(&s, scanned, s.cursor);
            if (s.cursor > scanned)
                scanned = s.cursor;
            step = FIRST_STEP;
        }
    }
    if (s.cursor < length) {
        if (found->copies) /* the same distance on: a byte changed in place leaves the rest where it was */
            found->next_offset += length - s.cursor;
        put_literal(&s, length);
    }
    found->literal_length = s.literal;
    found->token_length = (size_t)(s.writer.at - found->token);
    return BL_OK;
}
