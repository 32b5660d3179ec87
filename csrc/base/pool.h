/* base/pool.h: a stack of idle live objects of one exact type, kept for reuse.
 *
 * Unlike a freelist's (freelist.h) its objects are never dead: each keeps its one reference, its
 * type and its place in the garbage collector's lists, so that reuse costs a pop and nothing
 * else. For small internal objects without a finaliser, which hold nothing while idle. Compiled
 * out where freelists are. Touched with the GIL held only. */
#ifndef PA_BASE_POOL_H
#define PA_BASE_POOL_H

#include "base/freelist.h"

#define PA_POOL_CAPACITY 256

typedef struct {
    PyObject *items[PA_POOL_CAPACITY]; // owned
    int count;
    bool closed; // drained for good
} PaPool;

/* An idle object, whose reference becomes the caller's, or NULL without an exception. */
static inline PyObject *
pa_pool_take(PaPool *pool)
{
    if (!PA_FREELIST_ON || pool->count == 0) {
        return NULL;
    }
    PyObject *obj = pool->items[--pool->count];
    if (Py_REFCNT(obj) != 1) {
        Py_DECREF(obj); // somebody found it through gc.get_objects(): it is theirs
        return NULL;
    }
    return obj;
}

/* True when the pool took the caller's reference, which must be the only one. */
static inline bool
pa_pool_give(PaPool *pool, PyObject *idle)
{
    if (!PA_FREELIST_ON || pool->count == PA_POOL_CAPACITY || pool->closed) {
        return false;
    }
    pool->items[pool->count++] = idle;
    return true;
}

/* For tp_dealloc, before anything of the object is undone but what it held: true when the pool
 * gave it a new life. */
static inline bool
pa_pool_revive(PaPool *pool, PyObject *dying)
{
    if (!PA_FREELIST_ON || pool->count == PA_POOL_CAPACITY || pool->closed) {
        return false;
    }
    Py_SET_REFCNT(dying, 1);
    pool->items[pool->count++] = dying;
    return true;
}

/* For the tp_traverse of whatever owns the pool. */
static inline int
pa_pool_traverse(PaPool *pool, visitproc visit, void *arg)
{
    for (int i = 0; i < pool->count; i++) {
        Py_VISIT(pool->items[i]);
    }
    return 0;
}

/* Lets all objects go; none comes back. */
static inline void
pa_pool_drain(PaPool *pool)
{
    pool->closed = true;
    while (pool->count > 0) {
        Py_DECREF(pool->items[--pool->count]);
    }
}

#endif
