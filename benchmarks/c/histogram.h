/* A latency histogram with logarithmic buckets: constant memory, relative error under 1%.
 *
 * Each power of two of nanoseconds is cut into 64 equal buckets, so recording is a few
 * instructions and a percentile is exact to 1/64 of its value. Not thread-safe.
 */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_SUB_BITS = 6, HISTOGRAM_BUCKETS = (64 - HISTOGRAM_SUB_BITS + 1) << 6 };

typedef struct {
    uint64_t count;
    uint64_t maximum;
    uint64_t buckets[HISTOGRAM_BUCKETS];
} Histogram;

void histogram_clear(Histogram *histogram);
void histogram_record(Histogram *histogram, uint64_t nanoseconds);

/* The value in ns below which `fraction` (0..1) of the recorded values lie; 0 if there are none. */
uint64_t histogram_percentile(const Histogram *histogram, double fraction);

#endif
