/* Runs a fuzz target on made-up inputs without libFuzzer: for machines that have none (arm64 under qemu).
 *
 * Inputs are text-like and repeat themselves, so that matches occur. Usage: drive COUNT
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

int main(int count, char **argument)
{
    static uint8_t input[16384];
    long runs = count > 1 ? strtol(argument[1], NULL, 10) : 100;
    uint64_t state = 88172645463325252u;

    for (long run = 0; run < runs; run++) {
        size_t size = next(&state) % sizeof(input);
        for (size_t at = 0; at < size; at++) {
            uint64_t choice = next(&state);
            input[at] = (uint8_t)(choice % 300 == 0 || at < 64 ? choice >> 32 : input[at - 61]);
        }
        LLVMFuzzerTestOneInput(input, size);
    }
    printf("%ld inputs\n", runs);
    return 0;
}
