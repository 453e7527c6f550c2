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

#include "team.h"
#endif
