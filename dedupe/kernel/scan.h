/* What an anchor is. */
#ifndef BRANCHLINE_SCAN_H
#define BRANCHLINE_SCAN_H

#include "kernel.h"

/* One position in 64 is an anchor. */
enum { BL_ANCHOR_BITS = 6 };

static inline int bl_is_anchor(uint64_t hash)
{
    return hash < (uint64_t)1 << (64 - BL_ANCHOR_BITS); /* one compare; a shift would be one step more */
}

/* bl_scan that fetches the index lines of what it finds. */
size_t bl_scan_for(const bl_index *index, const uint8_t *raw, size_t from, size_t to, bl_anchor *out, size_t room);

#endif
