/* What the programs of the kit share beyond the guests' header: the place at
 * which a program can be saved while it works. */
#ifndef GPUCKPT_KIT_H
#define GPUCKPT_KIT_H

#include "../../tests/guests/driver.h"
#include <unistd.h>

/* Says that half of the work is done and, while the file that KIT_HOLD names
 * exists, goes on with work that changes no result: whoever saves the program
 * then finds it busy, and the output is the same however long it took. */
GUEST_UNUSED static void half_way(void (*work)(void))
{
    const char *hold = getenv("KIT_HOLD");
    printf("half way\n");
    fflush(stdout);
    while (hold && access(hold, F_OK) == 0) {
        work();
        pause_us(500);
    }
}

GUEST_UNUSED static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

GUEST_UNUSED static double median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, compare_doubles);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

#endif
