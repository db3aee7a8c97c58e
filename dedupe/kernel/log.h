/* Reading, writing and comparing log bytes through the segment table. */
#ifndef BRANCHLINE_LOG_H
#define BRANCHLINE_LOG_H

#include "kernel.h"

/* The byte at `offset`, and how many bytes from it on lie side by side in memory. */
static inline uint8_t *bl_log_at(const bl_log *log, uint64_t offset, size_t *side_by_side)
{
    uint64_t ring = (uint64_t)log->segments << log->segment_bits;
    uint64_t at = offset % ring;
    uint64_t mask = ((uint64_t)1 << log->segment_bits) - 1;

    *side_by_side = (size_t)(mask + 1 - (at & mask));
    return log->segment[at >> log->segment_bits] + (at & mask);
}

void bl_log_write(const bl_log *log, uint64_t offset, const uint8_t *data, size_t length);
/* Bytes that are equal from `offset` and `data` on, at most `most`. */
size_t bl_log_forward(const bl_log *log, uint64_t offset, const uint8_t *data, size_t most);
/* Bytes that are equal before `offset` and before `data`, at most `most`. */
size_t bl_log_backward(const bl_log *log, uint64_t offset, const uint8_t *data, size_t most);
/* The range of the view that holds [start, end), or NULL. */
const bl_range *bl_view_range(const bl_view *view, uint64_t start, uint64_t end);

#endif
