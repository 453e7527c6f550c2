/* Kernels that compiled plans call: matrix products, random numbers, and the team of threads.  Compiled once for a machine. */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "graphspec.h"

static gs_int gs_max(gs_int a, gs_int b) { return a > b ? a : b; }

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

/* Memory for as long as a loop runs. */
void *gs_reserve(gs_int bytes)
{
    void *memory = aligned_alloc(64, (size_t)(bytes + 127) / 64 * 64);
    if (!memory) abort();
    return memory;
}

void gs_release(void *memory) { free(memory); }

/* -- the library of matrix products ------------------------------------------------------------------------------------------- */

/* cblas_?gemm with integers of 64 or of 32 bits; NULL where there is none. */
typedef void (*gemm64)(int, int, int, int64_t, int64_t, int64_t, double, const void *, int64_t, const void *, int64_t, double, void *, int64_t);
typedef void (*sgemm64)(int, int, int, int64_t, int64_t, int64_t, float, const void *, int64_t, const void *, int64_t, float, void *, int64_t);
typedef void (*gemm32)(int, int, int, int32_t, int32_t, int32_t, double, const void *, int32_t, const void *, int32_t, double, void *, int32_t);
typedef void (*sgemm32)(int, int, int, int32_t, int32_t, int32_t, float, const void *, int32_t, const void *, int32_t, float, void *, int32_t);

static void *blas_f32, *blas_f64;
static int blas_wide;

void gs_set_blas(void *sgemm, void *dgemm, int wide)
{
    blas_f32 = sgemm;
    blas_f64 = dgemm;
    blas_wide = wide;
}

enum { ROW_MAJOR = 101, AS_IT_IS = 111, TRANSPOSED = 112 };

__attribute__((unused)) static void call_f32(int a, int b, gs_int M, gs_int N, gs_int K, const float *A, gs_int lda, const float *B, gs_int ldb, float *C,
                     gs_int ldc, int add)
{
    int ta = a ? AS_IT_IS : TRANSPOSED, tb = b ? AS_IT_IS : TRANSPOSED;
    if (blas_wide)
        ((sgemm64)blas_f32)(ROW_MAJOR, ta, tb, M, N, K, 1, A, lda, B, ldb, (float)add, C, ldc);
    else
        ((sgemm32)blas_f32)(ROW_MAJOR, ta, tb, (int32_t)M, (int32_t)N, (int32_t)K, 1, A, (int32_t)lda, B, (int32_t)ldb, (float)add, C,
                            (int32_t)ldc);
}

__attribute__((unused)) static void call_f64(int a, int b, gs_int M, gs_int N, gs_int K, const double *A, gs_int lda, const double *B, gs_int ldb, double *C,
                     gs_int ldc, int add)
{
    int ta = a ? AS_IT_IS : TRANSPOSED, tb = b ? AS_IT_IS : TRANSPOSED;
    if (blas_wide)
        ((gemm64)blas_f64)(ROW_MAJOR, ta, tb, M, N, K, 1, A, lda, B, ldb, add, C, ldc);
    else
        ((gemm32)blas_f64)(ROW_MAJOR, ta, tb, (int32_t)M, (int32_t)N, (int32_t)K, 1, A, (int32_t)lda, B, (int32_t)ldb, add, C, (int32_t)ldc);
}

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

#define REAL float
#define NAME(stem) stem##_f32
#define LANES (VECTOR_BYTES / 4)
#include "gemm.h"
#undef REAL
#undef NAME
#undef LANES

#define REAL double
#define NAME(stem) stem##_f64
#define LANES (VECTOR_BYTES / 8)
#include "gemm.h"
#undef REAL
#undef NAME
#undef LANES

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

/* -- the team of threads ----------------------------------------------------------------------------------------------------------- */

static gs_int team_size = 1;

void gs_set_threads(gs_int n) { team_size = gs_max(n, 1); }
gs_int gs_threads(void) { return team_size; }

void gs_parallel(gs_task task, void *context, gs_int parts)
{
    for (gs_int part = 0; part < parts; ++part) task(context, part, parts);
}
