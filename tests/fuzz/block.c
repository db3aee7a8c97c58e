/* libFuzzer target: whatever a block says, reading, decoding and appending stay inside their memory.
 *
 * The input's first bytes choose the log's state; the rest is the block as it came from the wire.
 */
#include "kernel.h"

#include <stdlib.h>
#include <string.h>

enum { SEGMENT_BITS = 12, SEGMENTS = 3, LIMIT = 1 << 16, BUCKET_BITS = 4 };

/* Every segment is an allocation of its own, so that a step over its edge is seen. */
static bl_log make_log(uint8_t fill)
{
    bl_log log = {malloc(SEGMENTS * sizeof(uint8_t *)), SEGMENT_BITS, SEGMENTS};

    for (uint32_t i = 0; i < SEGMENTS; i++) {
        log.segment[i] = malloc((size_t)1 << SEGMENT_BITS);
        memset(log.segment[i], fill + (int)i, (size_t)1 << SEGMENT_BITS);
    }
    return log;
}

static void free_log(bl_log *log)
{
    for (uint32_t i = 0; i < SEGMENTS; i++)
        free(log->segment[i]);
    free(log->segment);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bl_block block;
    uint64_t head, oldest[BL_LOGS];
    uint8_t *packed = NULL;
    int status;
    uint32_t entries = BL_BUCKET << BUCKET_BITS;

    if (size < 4)
        return 0;
    head = (uint64_t)data[0] << (data[1] % 50);
    const uint32_t ranges = data[2] % 3;
    data += 4;
    size -= 4;

    uint8_t *wire = malloc(size + 1); /* exactly as long as the input, so that reading on is seen */
    wire = realloc(wire, size ? size : 1);
    memcpy(wire, data, size);
    status = bl_block_read(wire, size, LIMIT, &block);
    if (status == BL_OK && (block.payload_at > size || block.packed_length > 2 * block.raw_length))
        abort();
    /* What is packed is taken to unpack to the payload's bytes, and zeros where they are too few. */
    if (status == BL_OK && block.packed) {
        const size_t length = (size_t)block.packed_length, there = size - block.payload_at;
        packed = calloc(1, length ? length : 1);
        memcpy(packed, wire + block.payload_at, there < length ? there : length);
    }
    const uint8_t *token = packed ? packed : wire + block.token_at;
    if (status != BL_OK || bl_block_measure(&block, token) != BL_OK) {
        free(packed);
        free(wire);
        return 0;
    }
    if (block.raw_length > LIMIT || block.literal_length + block.copied != block.raw_length ||
        block.logged_length > block.raw_length ||
        (block.packed && block.token_length + block.literal_length != block.packed_length))
        abort();

    bl_log logs[BL_LOGS] = {make_log(1), make_log(100)};
    bl_range held[2] = {{head, head + 3000}, {head + 4000, head + 9000}};
    bl_view view[BL_LOGS] = {{&logs[0], held, ranges}, {&logs[1], held, ranges}};
    uint8_t *literal = calloc(1, block.literal_length ? block.literal_length : 1);
    uint8_t *out = malloc(block.raw_length ? block.raw_length : 1);
    status = bl_decode(view, token, block.token_length, literal, block.literal_length, out,
                           block.raw_length, oldest);

    if (status == BL_OK && block.logs) {
        bl_index index = {aligned_alloc(64, entries * sizeof(uint64_t)), 1 << BUCKET_BITS, {0}, {0}};
        memset(index.entry, 0, entries * sizeof(uint64_t));
        if (bl_append(&logs[0], &index, 1, block.base, token, block.token_length, out,
                      block.raw_length, NULL, 0) != BL_OK)
            abort();
        free(index.entry);
    }
    free(out);
    free(literal);
    for (int i = 0; i < BL_LOGS; i++)
        free_log(&logs[i]);
    free(packed);
    free(wire);
    return 0;
}
