/* Is it worth compressing? */
#include "kernel.h"

/* 1 when sampled bytes are spread as evenly as random ones are (order-0 entropy near 8 bits).
 *
 * With n samples, the expected sum of squared counts of uniform bytes is n + n(n-1)/256. A text, a
 * program or a table lies far above. Weak at repeats of random data: the caller tries a small
 * compression as well. */
uint32_t bl_incompressible(const uint8_t *data, size_t length)
{
    enum { PIECES = 16, PIECE = 256 };
    uint32_t count[256] = {0};
    uint64_t squares = 0, n = PIECES * PIECE;

    if (length < 2 * n)
        return 0;
    for (size_t piece = 0; piece < PIECES; piece++) {
        const uint8_t *at = data + (length - PIECE) / (PIECES - 1) * piece;
        for (size_t i = 0; i < PIECE; i++)
            count[at[i]]++;
    }
    for (int i = 0; i < 256; i++)
        squares += (uint64_t)count[i] * count[i];
    return squares < (n + n * (n - 1) / 256) * 9 / 8;
}
