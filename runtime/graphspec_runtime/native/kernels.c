/* Kernels that compiled plans call: matrix products, random numbers, and the team of threads.  Compiled once for a machine, in parts side by
   side: 0 is all but the products, 1, 2 and 3 are those of float32, float64 and bf16. */
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
#include <time.h>

#include "graphspec.h"

__attribute__((unused)) static gs_int gs_max(gs_int a, gs_int b) { return a > b ? a : b; }

#if IN(0)
double gs_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* -- workspace: one for each thread, which grows ------------------------------------------------------------------------------ */

static pthread_key_t workspace_key;
static pthread_once_t workspace_once = PTHREAD_ONCE_INIT;

typedef struct {
    void *memory;
    gs_int bytes;
} workspace;

static void drop_workspace(void *held)
{
    free(((workspace *)held)->memory);
    free(held);
}

static void make_key(void) { pthread_key_create(&workspace_key, drop_workspace); }

/* At least so many bytes, aligned to a cache line, until the thread's next call. */
void *gs_workspace(gs_int bytes)
{
    pthread_once(&workspace_once, make_key);
    workspace *held = pthread_getspecific(workspace_key);
    if (!held) {
        held = calloc(1, sizeof(workspace));
        if (!held) abort();
        pthread_setspecific(workspace_key, held);
    }
    if (held->bytes < bytes) {
        free(held->memory);
        held->bytes = (bytes + 4095) / 4096 * 4096;
        held->memory = aligned_alloc(64, (size_t)held->bytes);
        if (!held->memory) abort();
    }
    return held->memory;
}

/* Memory for as long as a loop runs.  What is released is kept for the next loop: memory fresh from the system costs a fault a page. */
enum { KEPT = 4, LINE = 64 };

static struct {
    pthread_mutex_t lock;
    char *memory[KEPT]; /* each begins with its size, a cache line before what is handed out */
} reserve = {PTHREAD_MUTEX_INITIALIZER, {NULL}};

void *gs_reserve(gs_int bytes)
{
    char *found = NULL;
    bytes = (bytes + LINE - 1) / LINE * LINE;
    pthread_mutex_lock(&reserve.lock);
    for (int i = 0; i < KEPT && !found; ++i) {
        gs_int held = reserve.memory[i] ? *(gs_int *)reserve.memory[i] : 0;
        if (held >= bytes && held / 2 <= bytes) {
            found = reserve.memory[i];
            reserve.memory[i] = NULL;
        }
    }
    pthread_mutex_unlock(&reserve.lock);
    if (!found) {
        found = aligned_alloc(LINE, (size_t)bytes + LINE);
        if (!found) abort();
        *(gs_int *)found = bytes;
    }
    return found + LINE;
}

void gs_release(void *memory)
{
    char *released = memory ? (char *)memory - LINE : NULL;
    pthread_mutex_lock(&reserve.lock);
    for (int i = 0; i < KEPT && released; ++i)
        if (!reserve.memory[i]) {
            reserve.memory[i] = released;
            released = NULL;
        }
    if (released) { /* in the place of the smallest, if that is smaller */
        int least = 0;
        for (int i = 1; i < KEPT; ++i)
            if (*(gs_int *)reserve.memory[i] < *(gs_int *)reserve.memory[least]) least = i;
        if (*(gs_int *)reserve.memory[least] < *(gs_int *)released) {
            char *smaller = reserve.memory[least];
            reserve.memory[least] = released;
            released = smaller;
        }
    }
    pthread_mutex_unlock(&reserve.lock);
    free(released);
}

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
#undef MULTIPLY_ADD

#if defined(__AVX512BF16__) && IN(3)
#define TERMS 2
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

enum { MOST_THREADS = 256, SPINS = 20000 };

static struct {
    pthread_mutex_t busy, lock;
    pthread_cond_t wake;
    gs_int wanted, running; /* threads asked for, the caller among them, and workers that are at the job */
    gs_task task;
    void *context;
    gs_int parts;
    gs_int posted, next, left; /* jobs posted so far; the next part to take; parts not done */
} team = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 1, 0, NULL, NULL, 0, 0, 0, 0};

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

static void *work(void *unused)
{
    gs_int seen = (gs_int)(intptr_t)unused;
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
    team.running = 0;
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
        if (pthread_create(&thread, NULL, work, (void *)(intptr_t)team.posted)) {
            gs_set_threads(workers + 1);
            return;
        }
        pthread_detach(thread);
        ++workers;
    }
}

/* Parts that are worth a thread each, of work of so many elements. */
gs_int gs_parts(gs_int elements, gs_int most)
{
    return gs_max(1, gs_min(gs_min(gs_threads(), most), elements / 16384));
}

void gs_parallel(gs_task task, void *context, gs_int parts)
{
    if (parts <= 1 || gs_threads() <= 1 || pthread_mutex_trylock(&team.busy)) {
        for (gs_int part = 0; part < parts; ++part) task(context, part, parts);
        return;
    }
    hire();
    pthread_mutex_lock(&team.lock);
    while (__atomic_load_n(&team.running, __ATOMIC_ACQUIRE)) { /* a worker that came late to the job before */
        pthread_mutex_unlock(&team.lock);
        sched_yield();
        pthread_mutex_lock(&team.lock);
    }
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
    pthread_mutex_unlock(&team.busy);
}
#endif
