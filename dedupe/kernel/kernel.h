/* The codec's hot kernel: scan, index, match, token read and write. No allocation, no Python.h.
 *
 * Everything between the two "cdef" marks is read by build.py as well and must stay plain declarations.
 * Offsets are 64-bit log positions, lengths are bytes. Functions that can fail return BL_OK or a
 * negative BL_* code and never touch memory outside what they were given.
 */
#ifndef BRANCHLINE_KERNEL_H
#define BRANCHLINE_KERNEL_H

#include <stddef.h>
#include <stdint.h>

/* cdef begin */
enum {
    BL_OK = 0,
    BL_TRUNCATED = -1, /* the input ends inside a field */
    BL_LENGTH = -2,    /* lengths do not add up, or a limit is passed */
    BL_REFERENCE = -3, /* a COPY names bytes that are not there */
    BL_RESERVED = -4,  /* a reserved bit or value is set */
};

enum {
    BL_LOGS = 2,           /* logs that a token may name: 0 the sender's, 1 the receiver's */
    BL_BUCKET = 8,         /* index entries to a cache line */
    BL_NOWHERE = 8,
    BL_UNSEEN = 9,
    BL_FRESH = 64,
    BL_HEAD_MAX = 32,      /* longest block head */
    BL_TOKEN_MAX = 32,     /* longest COPY and LITERAL together */
    BL_WINDOW = 32,        /* bytes that an anchor is named by */
    BL_FAULTS = 64,        /* failed pages that a guard remembers */
};

/* Ring storage of one log, addressed through a segment table: segments << segment_bits bytes. */
typedef struct {
    uint8_t **segment;
    uint32_t segment_bits;
    uint32_t segments;
} bl_log;

typedef struct {
    uint64_t start, end;
} bl_range;

/* What may be referenced of one log: ascending, disjoint ranges. log may be NULL when ranges is 0. */
typedef struct {
    const bl_log *log;
    const bl_range *range;
    uint32_t ranges;
} bl_view;

/* Anchor index: buckets of BL_BUCKET entries, zeroed at first. Entries are hints: they are read and written with
 * relaxed atomics by several threads, and whatever they say is verified. fresh is the encoder's alone. */
typedef struct {
    uint64_t *entry;
    uint32_t buckets; /* at least 1 */
    uint64_t head[BL_LOGS];
    uint64_t fresh[BL_FRESH]; /* pages of old log that were indexed densely again not long ago */
} bl_index;

/* end is the position after the window's last byte. slot: where in its bucket an entry for it would go, as found when
 * the bucket was looked at; BL_NOWHERE when all others have the better claim, BL_UNSEEN when nobody looked. */
typedef struct {
    uint64_t hash;
    uint32_t end, slot;
} bl_anchor;

/* length bytes of the block from start on are those of the log from offset on. run: bytes of that match up to
 * the copy's end, counting those of the flow's blocks before. */
typedef struct {
    uint64_t offset, run;
    uint32_t start, length, log;
} bl_copy;

typedef struct {
    bl_view view[BL_LOGS];
    bl_index *index;
    uint32_t copy;        /* 0: emit one LITERAL (the scan for anchors is still made) */
    uint32_t store;       /* 0: nothing is logged */
    uint32_t relog_below; /* T: a shorter match is logged again */
    uint32_t hint_log;    /* where this flow would go on if it repeats: log, offset, */
    uint64_t hint_offset;
    uint64_t hint_run;    /* bytes already matched up to there; 0 and hint_offset 0: no hint */
} bl_search;

typedef struct {
    uint8_t *token;
    size_t token_room; /* at least (copy_room + 1) * BL_TOKEN_MAX; with more, more short copies are written */
    uint8_t *literal;  /* room for the block's length; untouched when literal_length == block length */
    bl_anchor *anchor;
    size_t anchor_room; /* anchors beyond are not used */
    bl_copy *copy;
    size_t copy_room; /* block length / 32 + 2 is always enough */
    size_t token_length, literal_length, logged_length, copied, anchors, copies;
    uint32_t next_log; /* the hint for the flow's next block */
    uint64_t next_offset, next_run;
    uint32_t reverse; /* set when log 1 is referenced */
} bl_found;

/* Packed: the tokens are not in the block as they are (token_at) but packed with the literals, packed_length bytes in
 * all. What the second line says is known when the tokens have been measured; token_length of others at once. */
typedef struct {
    uint64_t base, raw_length, packed_length;
    uint64_t token_length, literal_length, logged_length, copied;
    size_t token_at, hash_at, payload_at;
    uint32_t coding, logs, packed;
} bl_block;

size_t bl_scan(const uint8_t *raw, size_t from, size_t to, bl_anchor *out, size_t room);
int bl_match(const bl_search *search, const uint8_t *raw, size_t length, bl_found *found);
/* length: of the tokens; of tokens and literals if they are packed. */
size_t bl_head_write(uint8_t *out, uint32_t coding, int logs, uint64_t base, uint64_t raw_length, uint64_t length);
/* The head, and where the other fields are. */
int bl_block_read(const uint8_t *wire, size_t length, uint64_t limit, bl_block *block);
/* The block's tokens, of which token_length bytes may be read (of packed ones, packed_length): whether they stand for
 * as many bytes as the head says, and of what kind. */
int bl_block_measure(bl_block *block, const uint8_t *token);
int bl_decode(const bl_view *view, const uint8_t *token, size_t token_length, const uint8_t *literal,
              size_t literal_length, uint8_t *out, size_t out_length, uint64_t *oldest);
int bl_append(const bl_log *log, bl_index *index, uint32_t log_id, uint64_t base, const uint8_t *token,
              size_t token_length, const uint8_t *raw, size_t length, const bl_anchor *anchor, size_t anchors);
/* Puts the anchors of bytes that are in a log already, from `offset` on, into the index (after a restart). */
void bl_index_range(bl_index *index, uint32_t log_id, uint64_t offset, const uint8_t *raw, size_t length);
/* Puts what another index has into this one, as far as it has room. A smaller one keeps the entries with the best claim;
 * in a larger one an entry stands in every bucket that it may belong to, until others need the room. Both may be in use. */
void bl_index_take(bl_index *index, const bl_index *from);
void bl_log_read(const bl_log *log, uint64_t offset, uint8_t *out, size_t length);
/* Pages of [start, start + length) that cannot be read become zeros instead of a SIGBUS. fault has room for
 * 1 + BL_FAULTS numbers: how many pages failed, and where (bytes from start; a ring, so the newest of them). Any
 * thread may add and remove; remove before unmapping. BL_LENGTH when too many regions are guarded. */
int bl_guard_add(const void *start, size_t length, uint64_t *fault);
void bl_guard_remove(const void *start);
uint32_t bl_incompressible(const uint8_t *data, size_t length);
/* cdef end */

#endif
