/* sched/timersort.c: puts timers that are due in the order of their deadlines.
 *
 * Deadlines are mostly spread over the time since the last turn, so entries are dealt out into equal
 * parts of that time, and each part is sorted the same way until few are left: a million are passed
 * over twice, where to merge them takes twenty passes, most of them out of the cache. Where half of
 * them or more fall into one part (equal deadlines, one of long ago) they are merged. */
#include "sched/timersort.h"

#include <math.h>
#include <string.h>

enum { PARTS = 256, FEW = 24 };

/* ---- few */

static void
insert_each(PaTimerEntry *entries, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        PaTimerEntry moving = entries[i];
        size_t at = i;
        while (at > 0 && pa_timer_earlier(&moving, &entries[at - 1])) {
            entries[at] = entries[at - 1];
            at--;
        }
        entries[at] = moving;
    }
}

/* ---- merging */

/* Puts two sorted neighbours, entries[begin..middle) and [middle..end), together in `merged`. */
static void
merge(const PaTimerEntry *entries, PaTimerEntry *merged, size_t begin, size_t middle, size_t end)
{
    size_t left = begin, right = middle;
    for (size_t at = begin; at < end; at++) {
        bool from_right =
            left == middle || (right < end && pa_timer_earlier(&entries[right], &entries[left]));
        merged[at] = entries[from_right ? right++ : left++];
    }
}

static void
merge_all(PaTimerEntry *entries, PaTimerEntry *scratch, size_t count)
{
    PaTimerEntry *from = entries, *to = scratch;
    for (size_t width = 1; width < count; width *= 2) {
        for (size_t begin = 0; begin < count; begin += 2 * width) {
            size_t middle = count - begin < width ? count : begin + width;
            size_t end = count - middle < width ? count : middle + width;
            merge(from, to, begin, middle, end);
        }
        PaTimerEntry *other = from;
        from = to;
        to = other;
    }
    if (from != entries) {
        memcpy(entries, from, count * sizeof(PaTimerEntry));
    }
}

/* ---- dealing out */

typedef struct {
    double first; // deadline
    double scale; // parts per second
} PaSpread;

static PaSpread
measure_spread(const PaTimerEntry *entries, size_t count)
{
    double first = entries[0].when, last = first;
    for (size_t i = 1; i < count; i++) {
        first = entries[i].when < first ? entries[i].when : first;
        last = entries[i].when > last ? entries[i].when : last;
    }
    return (PaSpread){.first = first, .scale = (PARTS - 1) / (last - first)};
}

static inline size_t
part_of(const PaTimerEntry *entry, PaSpread spread)
{
    return (size_t)((entry->when - spread.first) * spread.scale);
}

/* Where each part will end; false when one of them gets half of the entries. */
static bool
count_parts(const PaTimerEntry *entries, size_t count, PaSpread spread, size_t ends[PARTS])
{
    memset(ends, 0, PARTS * sizeof(ends[0]));
    for (size_t i = 0; i < count; i++) {
        ends[part_of(&entries[i], spread)]++;
    }
    size_t end = 0;
    for (int part = 0; part < PARTS; part++) {
        if (ends[part] > count / 2) {
            return false;
        }
        end += ends[part];
        ends[part] = end;
    }
    return true;
}

/* Moves each entry into its part. Afterwards begins[part] is where that begins. */
static void
deal_out(PaTimerEntry *entries, PaTimerEntry *scratch, size_t count, PaSpread spread,
         size_t begins[PARTS])
{
    for (size_t i = count; i-- > 0;) {
        scratch[--begins[part_of(&entries[i], spread)]] = entries[i];
    }
    memcpy(entries, scratch, count * sizeof(PaTimerEntry));
}

void
pa_timersort(PaTimerEntry *entries, PaTimerEntry *scratch, size_t count)
{
    if (count <= FEW) {
        insert_each(entries, count);
        return;
    }
    size_t begins[PARTS];
    PaSpread spread = measure_spread(entries, count);
    if (!isnormal(spread.scale) || !count_parts(entries, count, spread, begins)) {
        merge_all(entries, scratch, count);
        return;
    }
    deal_out(entries, scratch, count, spread, begins);
    for (int part = 0; part < PARTS; part++) {
        size_t begin = begins[part], end = part + 1 < PARTS ? begins[part + 1] : count;
        pa_timersort(entries + begin, scratch + begin, end - begin);
    }
}
