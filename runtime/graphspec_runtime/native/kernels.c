/* Kernels that compiled plans call: matrix products, random numbers, and the team of threads.  Compiled once for a machine, each part a library
   of its own when a plan needs it: GS_PART 0 is all but the products; 1, 2 and 3 are those of float32, float64 and bf16. */
#ifdef GS_PART
#define IN(part) (GS_PART == (part))
#else
#define IN(part) 1
#endif

#if defined(__AVX512BF16__) && IN(3)
#include <immintrin.h>
#endif
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#if defined(__linux__)
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#include <time.h>

#include "graphspec.h"

#if IN(0)
double gs_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#include "memory.h"
#endif

/* -- the library of matrix products ------------------------------------------------------------------------------------------- */

/* cblas_?gemm of NumPy's library; NULL where there is none.  Wide: with integers of 64 bits. */
#define blas_f32 gs_blas_f32
#define blas_f64 gs_blas_f64
#define blas_wide gs_blas_wide
extern void *blas_f32, *blas_f64;
extern int blas_wide;

#if IN(0)
void *blas_f32, *blas_f64;
int blas_wide;

void gs_set_blas(void *sgemm, void *dgemm, int wide)
{
    blas_f32 = sgemm;
    blas_f64 = dgemm;
    blas_wide = wide;
}
#endif

enum { ROW_MAJOR = 101, AS_IT_IS = 111, TRANSPOSED = 112 };

/* Registers decide the tile: 32 wide ones hold 6 x 4 vectors, 16 hold 6 x 2. */
#if defined(__AVX512F__)
#define OWN_PRODUCTS /* as fast as a library's, and the same bits with any number of threads */
#define VECTOR_BYTES 64
#define TILE_VECTORS 4
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#define TILE_VECTORS 2
#elif defined(__aarch64__)
#define VECTOR_BYTES 16
#define TILE_VECTORS 4
#else
#define VECTOR_BYTES 16
#define TILE_VECTORS 2
#endif
#define TILE_ROWS 6

#define UNROLLED _Pragma("GCC unroll 16")
#define TERMS 1
#define STRIDE 1
#define MULTIPLY_ADD(c, a, b) ((c) + (a) * (b))

#if IN(1)
#define REAL float
#define ITEM float
#define NAME(stem) stem##_f32
#define LANES (VECTOR_BYTES / 4)
#include "gemm.h"
#include "plain.h"
#undef REAL
#undef ITEM
#undef NAME
#undef LANES
#endif

#if IN(2)
#define REAL double
#define ITEM double
#define NAME(stem) stem##_f64
#define LANES (VECTOR_BYTES / 8)
#include "gemm.h"
#include "plain.h"
#undef REAL
#undef ITEM
#undef NAME
#undef LANES
#endif
#undef TERMS
#undef STRIDE
#undef MULTIPLY_ADD

#if defined(__AVX512BF16__) && IN(3)
#define TERMS 2
#if defined(__AMX_BF16__) && defined(__linux__)
#define STRIDE 16
#undef TILE_VECTORS
#define TILE_VECTORS 2 /* what a pair of tiles holds lies in order */
#else
#define STRIDE 1
#endif
#define MULTIPLY_ADD(c, a, b) ((NAME(vector))_mm512_dpbf16_ps((__m512)(c), (__m512bh)(a), (__m512bh)(b)))
#define REAL float
#define ITEM uint32_t
#define NAME(stem) stem##_bf16
#define LANES (VECTOR_BYTES / 4)
#include "gemm.h"
#include "bf16.h"
#undef REAL
#undef ITEM
#undef NAME
#undef LANES
#undef TERMS
#undef STRIDE
#undef MULTIPLY_ADD
#endif

#if IN(0)
/* -- random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, 2011) ------------------------------------------------------------- */

typedef struct {
    uint32_t c[4], k[2];
} counter;

static counter counter_of(gs_int seed, gs_int step, const gs_int *indices, gs_int depth, gs_int site)
{
    uint32_t mixed = 0;
    for (gs_int i = 1; i < depth; ++i) mixed = (mixed ^ (uint32_t)indices[i]) * 2654435761u;
    counter made = {{0, depth ? (uint32_t)indices[0] : 0, mixed, (uint32_t)step},
                    {(uint32_t)seed ^ (uint32_t)site * 0x9E3779B9u, (uint32_t)(seed >> 32) ^ (uint32_t)(step >> 32)}};
    return made;
}

static void philox(counter at, uint32_t block, uint32_t out[4])
{
    uint32_t a = block, b = at.c[1], c = at.c[2], d = at.c[3], k0 = at.k[0], k1 = at.k[1];
    for (int round = 0; round < 10; ++round) {
        uint64_t p = (uint64_t)a * 0xD2511F53u, q = (uint64_t)c * 0xCD9E8D57u;
        a = (uint32_t)(q >> 32) ^ b ^ k0;
        b = (uint32_t)q;
        c = (uint32_t)(p >> 32) ^ d ^ k1;
        d = (uint32_t)p;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = a, out[1] = b, out[2] = c, out[3] = d;
}

#define UNIFORM(REAL, NAME)                                                                                                            \
    void NAME(gs_int n, gs_int seed, gs_int step, const gs_int *indices, gs_int depth, gs_int site, REAL *out)                         \
    {                                                                                                                                  \
        counter at = counter_of(seed, step, indices, depth, site);                                                                     \
        for (gs_int e = 0; e < n; e += 4) {                                                                                            \
            uint32_t words[4];                                                                                                         \
            philox(at, (uint32_t)(e / 4), words);                                                                                      \
            for (gs_int i = 0; i < gs_min(4, n - e); ++i) out[e + i] = (REAL)(words[i] >> 8) * (REAL)0x1p-24;                          \
        }                                                                                                                              \
    }
UNIFORM(float, gs_uniform_f32)
UNIFORM(double, gs_uniform_f64)

#define NORMAL(REAL, NAME)                                                                                                             \
    void NAME(gs_int n, gs_int seed, gs_int step, const gs_int *indices, gs_int depth, gs_int site, REAL *out)                         \
    {                                                                                                                                  \
        counter at = counter_of(seed, step, indices, depth, site);                                                                     \
        for (gs_int e = 0; e < n; e += 2) {                                                                                            \
            uint32_t words[4];                                                                                                         \
            philox(at, (uint32_t)(e / 2), words);                                                                                      \
            for (gs_int i = 0; i < gs_min(2, n - e); ++i) {                                                                            \
                double u = (words[2 * i] >> 8) * 0x1p-24, v = (words[2 * i + 1] >> 8) * 0x1p-24;                                       \
                out[e + i] = (REAL)(sqrt(-2 * log(u + 0x1p-25)) * cos(6.283185307179586476925286766559 * v));                          \
            }                                                                                                                          \
        }                                                                                                                              \
    }
NORMAL(float, gs_normal_f32)
NORMAL(double, gs_normal_f64)

/* -- the team of threads ------------------------------------------------------------------------------------------------------------

   One team for the process, made when first asked for.  Whoever finds it busy works alone.  Waiting is active for a while, since work
   comes in quick succession, and then leaves the processor to others. */

enum { MOST_THREADS = 256, SPINS = 20000, FEW_SPINS = 1000, FEW_ROWS = 16 };

/* Work that is worth a thread, in elements, bytes of matrices that a core holds in a cache of its own, and how many loops are done without
   meetings at most where threads had to wait; tests have less of all. */
#ifndef GRAIN
#define GRAIN 16384
#define OWN_CACHE (1 << 21)
#define LONGEST 4096
#endif

typedef struct {
    workspace space;
    gs_int seen; /* the last job that was posted before it was hired */
} seat;

static struct {
    pthread_mutex_t busy, lock;
    pthread_cond_t wake;
    gs_int wanted, running; /* threads asked for, the caller among them, and workers that are at the job */
    gs_task task;
    void *context;
    gs_int parts;
    gs_int posted, next, left; /* jobs posted so far; the next part to take; parts not done */
    gs_int prepared;           /* bytes that each worker has to work in */
    gs_int arrived, meetings;  /* parts that wait for the others, and how often all have met */
    gs_int waited;             /* nanoseconds that the parts of the job waited for each other, added up */
    gs_int shy, longest;       /* loops yet to be done without meetings, and how many they were at first */
    seat seats[MOST_THREADS];
} team = {.busy = PTHREAD_MUTEX_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER, .wanted = 1};

static void pause_a_little(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Take parts of the job until there are none. */
static void take_parts(void)
{
    for (;;) {
        gs_int part = __atomic_fetch_add(&team.next, 1, __ATOMIC_ACQ_REL);
        if (part >= team.parts) return;
        team.task(team.context, part, team.parts);
        __atomic_fetch_sub(&team.left, 1, __ATOMIC_ACQ_REL);
    }
}

static void *work(void *held)
{
    seat *mine = held;
    gs_int seen = mine->seen;
    pthread_once(&workspace_once, make_key);
    pthread_setspecific(workspace_key, &mine->space); /* for good: workers stay as long as the process */
    for (;;) {
        for (int i = 0; i < SPINS && __atomic_load_n(&team.posted, __ATOMIC_ACQUIRE) == seen; ++i) pause_a_little();
        pthread_mutex_lock(&team.lock);
        while (team.posted == seen) pthread_cond_wait(&team.wake, &team.lock);
        seen = team.posted;
        __atomic_fetch_add(&team.running, 1, __ATOMIC_ACQ_REL); /* the next job is not posted before this worker is done with this one */
        pthread_mutex_unlock(&team.lock);
        take_parts();
        __atomic_fetch_sub(&team.running, 1, __ATOMIC_ACQ_REL);
    }
    return NULL;
}

static gs_int workers;

/* A child of fork has none of the threads. */
static void forget_team(void)
{
    pthread_mutex_init(&reserve.lock, NULL);
    pthread_mutex_init(&team.busy, NULL);
    pthread_mutex_init(&team.lock, NULL);
    pthread_cond_init(&team.wake, NULL);
    team.running = team.arrived = 0;
    workers = 0;
}

void gs_set_threads(gs_int n) { __atomic_store_n(&team.wanted, n < 1 ? 1 : gs_min(n, MOST_THREADS), __ATOMIC_RELAXED); }
gs_int gs_threads(void) { return __atomic_load_n(&team.wanted, __ATOMIC_RELAXED); }

static void hire(void)
{
    static int told;
    if (!told) {
        pthread_atfork(NULL, NULL, forget_team);
        told = 1;
    }
    while (workers < gs_threads() - 1) {
        pthread_t thread;
        seat *next = &team.seats[workers];
        next->seen = team.posted;
        if (!grown(&next->space, team.prepared) || pthread_create(&thread, NULL, work, next)) {
            gs_set_threads(workers + 1);
            return;
        }
        pthread_detach(thread);
        ++workers;
    }
}

/* Hold the team's lock while no worker is at the job before, to which it may have come late. */
static void lock_idle_team(void)
{
    pthread_mutex_lock(&team.lock);
    while (__atomic_load_n(&team.running, __ATOMIC_ACQUIRE)) {
        pthread_mutex_unlock(&team.lock);
        sched_yield();
        pthread_mutex_lock(&team.lock);
    }
}

int gs_prepare(gs_int bytes)
{
    workspace *own = own_workspace();
    if (bytes < 0 || !own || !grown(own, bytes)) return 0;
    if (__atomic_load_n(&team.prepared, __ATOMIC_ACQUIRE) >= bytes) return 1;
    int enough = 1;
    pthread_mutex_lock(&team.busy);
    lock_idle_team();
    for (gs_int i = 0; i < workers && enough; ++i) enough = grown(&team.seats[i].space, bytes);
    if (enough) __atomic_store_n(&team.prepared, gs_max(team.prepared, bytes), __ATOMIC_RELEASE);
    pthread_mutex_unlock(&team.lock);
    pthread_mutex_unlock(&team.busy);
    return enough;
}

/* Parts that are worth a thread each, of work of so many elements. */
gs_int gs_parts(gs_int elements, gs_int most)
{
    return gs_max(1, gs_min(gs_min(gs_threads(), most), elements / GRAIN));
}

/* Have the team do a job; the caller has locked and hired it. */
static void post(gs_task task, void *context, gs_int parts)
{
    lock_idle_team();
    team.task = task;
    team.context = context;
    team.parts = parts;
    team.left = parts;
    team.next = 0;
    __atomic_fetch_add(&team.posted, 1, __ATOMIC_ACQ_REL);
    pthread_cond_broadcast(&team.wake);
    pthread_mutex_unlock(&team.lock);
    take_parts();
    for (int i = 0; __atomic_load_n(&team.left, __ATOMIC_ACQUIRE); ++i) {
        if (i < SPINS)
            pause_a_little();
        else
            sched_yield();
    }
}

void gs_parallel(gs_task task, void *context, gs_int parts)
{
    if (parts <= 1 || gs_threads() <= 1 || pthread_mutex_trylock(&team.busy)) {
        for (gs_int part = 0; part < parts; ++part) task(context, part, parts);
        return;
    }
    hire();
    post(task, context, parts);
    pthread_mutex_unlock(&team.busy);
}

/* Where others want the processors too, threads that meet wait for one that is not running, and most of the time goes by.  Then loops are done
   without meetings for a while, twice as long each time. */
static void look_back(gs_int parts, double seconds)
{
    enum { FIRST = 16 };
    int held_up = 4e-9 * (double)team.waited > seconds * (double)parts;
    team.longest = held_up ? gs_min(gs_max(2 * team.longest, FIRST), LONGEST) : 0;
    __atomic_store_n(&team.shy, team.longest, __ATOMIC_RELAXED);
}

void gs_together(gs_task task, void *context, gs_int parts)
{
    if (parts <= 1 || gs_threads() <= 1 || pthread_mutex_trylock(&team.busy)) {
        task(context, 0, 1);
        return;
    }
    hire();
    parts = gs_min(parts, workers + 1);
    team.waited = 0;
    double start = gs_clock();
    post(task, context, parts);
    look_back(parts, gs_clock() - start);
    pthread_mutex_unlock(&team.busy);
}

/* Each part has a thread, so that all will come. */
void gs_meet(gs_int parts)
{
    if (parts <= 1) return;
    gs_int meeting = __atomic_load_n(&team.meetings, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&team.arrived, 1, __ATOMIC_ACQ_REL) == parts) {
        __atomic_store_n(&team.arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&team.meetings, meeting + 1, __ATOMIC_RELEASE);
        return;
    }
    double start = gs_clock();
    for (int i = 0; __atomic_load_n(&team.meetings, __ATOMIC_ACQUIRE) == meeting; ++i) {
        if (i < FEW_SPINS)
            pause_a_little();
        else
            sched_yield();
    }
    __atomic_fetch_add(&team.waited, (gs_int)(1e9 * (gs_clock() - start)), __ATOMIC_RELAXED);
}

/* Threads that take rows through all turns never meet, and are faster while matrices stay in a core's own cache or its rows are many; else
   each reads all of the matrices in every turn from a cache that all share. */
gs_int gs_columns(gs_int bytes, gs_int rows)
{
    gs_int parts = gs_min(gs_threads(), bytes / (OWN_CACHE / 4)), shy = __atomic_load_n(&team.shy, __ATOMIC_RELAXED);
    if (bytes < OWN_CACHE || rows > FEW_ROWS * parts) return 1;
    if (shy > 0) __atomic_store_n(&team.shy, shy - 1, __ATOMIC_RELAXED);
    return shy > 0 ? 1 : parts;
}
#endif
