/* The latency histogram; see histogram.h for the layout of its buckets. */
#include "histogram.h"

#include <string.h>

enum { SUB_BUCKETS = 1 << HISTOGRAM_SUB_BITS };

/* Values below 64 have a bucket each; above, the top bit picks the row, the next six the column. */
static unsigned
bucket_of(uint64_t value)
{
    if (value < SUB_BUCKETS) {
        return (unsigned)value;
    }
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
    return (shift + 1) * SUB_BUCKETS + (unsigned)((value >> shift) & (SUB_BUCKETS - 1));
}

/* The middle of a bucket, so that the error is half a bucket either way. */
static uint64_t
value_of(unsigned bucket)
{
    if (bucket < SUB_BUCKETS) {
        return bucket;
    }
    unsigned shift = bucket / SUB_BUCKETS - 1;
    uint64_t low = (uint64_t)(SUB_BUCKETS + bucket % SUB_BUCKETS) << shift;
    return low + ((uint64_t)1 << shift) / 2;
}

void
histogram_clear(Histogram *histogram)
{
    memset(histogram, 0, sizeof *histogram);
}

void
histogram_record(Histogram *histogram, uint64_t nanoseconds)
{
    histogram->count++;
    histogram->buckets[bucket_of(nanoseconds)]++;
    if (nanoseconds > histogram->maximum) {
        histogram->maximum = nanoseconds;
    }
}

uint64_t
histogram_percentile(const Histogram *histogram, double fraction)
{
    uint64_t wanted = (uint64_t)(fraction * (double)histogram->count);
    uint64_t seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen > wanted) {
            return value_of(i);
        }
    }
    return histogram->maximum;
}
