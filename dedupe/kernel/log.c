#include "log.h"

#include <string.h>

enum { STRIDE = 2048 };

void bl_log_read(const bl_log *log, uint64_t offset, uint8_t *out, size_t length)
{
    while (length) {
        size_t run;
        const uint8_t *from = bl_log_at(log, offset, &run);
        if (run > length)
            run = length;
        memcpy(out, from, run);
        out += run, offset += run, length -= run;
    }
}

void bl_log_write(const bl_log *log, uint64_t offset, const uint8_t *data, size_t length)
{
    while (length) {
        size_t run;
        uint8_t *to = bl_log_at(log, offset, &run);
        if (run > length)
            run = length;
        memcpy(to, data, run);
        data += run, offset += run, length -= run;
    }
}

/* memcmp strides run at memory speed and pick the machine's vectors at run time; words find the spot. */
static size_t equal_forward(const uint8_t *a, const uint8_t *b, size_t most)
{
    size_t n = 0;

    while (most - n >= 8) {
        uint64_t x, y;
        memcpy(&x, a + n, 8);
        memcpy(&y, b + n, 8);
        if (x != y)
            break;
        n += 8;
        if (n == 64)
            while (most - n >= STRIDE && memcmp(a + n, b + n, STRIDE) == 0)
                n += STRIDE;
    }
    while (n < most && a[n] == b[n])
        n++;
    return n;
}

static size_t equal_backward(const uint8_t *a, const uint8_t *b, size_t most)
{
    size_t n = 0;

    while (most - n >= 8) {
        uint64_t x, y;
        memcpy(&x, a - n - 8, 8);
        memcpy(&y, b - n - 8, 8);
        if (x != y)
            break;
        n += 8;
        if (n == 64)
            while (most - n >= STRIDE && memcmp(a - n - STRIDE, b - n - STRIDE, STRIDE) == 0)
                n += STRIDE;
    }
    while (n < most && a[-1 - (ptrdiff_t)n] == b[-1 - (ptrdiff_t)n])
        n++;
    return n;
}

size_t bl_log_forward(const bl_log *log, uint64_t offset, const uint8_t *data, size_t most)
{
    size_t done = 0;

    while (done < most) {
        size_t run, same;
        const uint8_t *at = bl_log_at(log, offset + done, &run);
        if (run > most - done)
            run = most - done;
        same = equal_forward(at, data + done, run);
        done += same;
        if (same < run)
            break;
    }
    return done;
}

size_t bl_log_backward(const bl_log *log, uint64_t offset, const uint8_t *data, size_t most)
{
    size_t segment = (size_t)1 << log->segment_bits, done = 0;

    while (done < most) {
        size_t after, run, same;
        const uint8_t *last = bl_log_at(log, offset - done - 1, &after);
        run = segment - after + 1;
        if (run > most - done)
            run = most - done;
        same = equal_backward(last + 1, data - done, run);
        done += same;
        if (same < run)
            break;
    }
    return done;
}

const bl_range *bl_view_range(const bl_view *view, uint64_t start, uint64_t end)
{
    uint32_t low = 0, high = view->ranges;

    while (low < high) { /* the last range that starts at or before `start` */
        uint32_t middle = low + (high - low) / 2;
        if (view->range[middle].start <= start)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0 || end < start || end > view->range[low - 1].end)
        return NULL;
    return &view->range[low - 1];
}
