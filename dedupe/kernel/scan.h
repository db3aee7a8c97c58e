/* What an anchor is. */
#ifndef BRANCHLINE_SCAN_H
#define BRANCHLINE_SCAN_H

#include "kernel.h"

/* One position in 128 is an anchor. */
enum { BL_ANCHOR_BITS = 7 };

static inline int bl_is_anchor(uint64_t hash)
{
    return (hash >> (64 - BL_ANCHOR_BITS)) == 0;
}

#endif
