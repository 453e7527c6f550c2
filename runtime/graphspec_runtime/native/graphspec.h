/* What compiled plans and the kernels they call share.  Sizes and strides count elements; rows are axis 0. */
#ifndef GRAPHSPEC_H
#define GRAPHSPEC_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef int64_t gs_int;

/* A kernel stays a function of its own.  In the place where it is called, compilers take the square of the time for a plan of many kernels. */
#define GS_KERNEL static __attribute__((noinline))

/* The first index that was out of range: the instruction's number, the value, its position counted along the view.  Or GS_NO_MEMORY, and
   the bytes that a thread would need. */
typedef struct {
    gs_int serial, value, position;
} gs_fault;

enum { GS_NO_MEMORY = -1 };

/* One part of work that is split by rows: part `part` of `parts`. */
typedef void (*gs_task)(void *context, gs_int part, gs_int parts);

void gs_parallel(gs_task task, void *context, gs_int parts);
gs_int gs_threads(void);
gs_int gs_parts(gs_int elements, gs_int most);

/* The same with all parts at once, so that they may meet: where all have come, all go on.  With fewer parts if there are not as many threads. */
void gs_together(gs_task task, void *context, gs_int parts);
void gs_meet(gs_int parts);
/* Parts that are worth a thread each, of columns of a loop's products by matrices of so many bytes; 1: it had better be split by rows. */
gs_int gs_columns(gs_int bytes, gs_int rows);

/* Memory that kernels work in.  A plan has all that they will need at most made ready before it starts, for itself and each thread of the
   team: whether there was so much.  Nothing that a kernel does afterwards can fail. */
int gs_prepare(gs_int bytes);
void *gs_workspace(gs_int bytes);

/* Memory for as long as a loop runs; NULL where there is none, and the loop does without. */
void *gs_reserve(gs_int bytes);
void gs_release(void *memory);

/* C[M,N] = A[M,K] B[K,N], or added to C; any strides.  Who computes some rows of a product says how many there are in `all`: that decides
   the way, so that numbers are the same however rows are split. */
void gs_gemm_f32(gs_int M, gs_int N, gs_int K, const float *A, gs_int ars, gs_int acs, const float *B, gs_int brs, gs_int bcs,
                 float *C, gs_int crs, gs_int ccs, int add, gs_int all);
void gs_gemm_f64(gs_int M, gs_int N, gs_int K, const double *A, gs_int ars, gs_int acs, const double *B, gs_int brs, gs_int bcs,
                 double *C, gs_int crs, gs_int ccs, int add, gs_int all);

/* Bytes of workspace that such a product takes at most, or one of fewer rows; with B packed too. */
gs_int gs_scratch_f32(gs_int M, gs_int N, gs_int K, gs_int ars, gs_int acs, gs_int brs, gs_int bcs, gs_int crs, gs_int ccs);
gs_int gs_scratch_f64(gs_int M, gs_int N, gs_int K, gs_int ars, gs_int acs, gs_int brs, gs_int bcs, gs_int crs, gs_int ccs);

/* The same with B packed before, for a matrix that many products of few rows share; one part of as many parts of the columns. */
gs_int gs_packed_f32(gs_int K, gs_int N);
gs_int gs_packed_f64(gs_int K, gs_int N);
void gs_pack_f32(gs_int K, gs_int N, const float *B, gs_int brs, gs_int bcs, float *P);
void gs_pack_f64(gs_int K, gs_int N, const double *B, gs_int brs, gs_int bcs, double *P);
void gs_gemm_packed_f32(gs_int M, gs_int N, gs_int K, const float *A, gs_int ars, const float *P, float *C, gs_int crs, int add,
                        gs_int part, gs_int parts);
void gs_gemm_packed_f64(gs_int M, gs_int N, gs_int K, const double *A, gs_int ars, const double *P, double *C, gs_int crs, int add,
                        gs_int part, gs_int parts);

/* The same of float32 numbers rounded to bf16, summed in float32; packed as pairs.  Only where the processor has AVX-512 BF16. */
void gs_gemm_bf16(gs_int M, gs_int N, gs_int K, const float *A, gs_int ars, gs_int acs, const float *B, gs_int brs, gs_int bcs, float *C,
                  gs_int crs, gs_int ccs, int add, gs_int all);
gs_int gs_scratch_bf16(gs_int M, gs_int N, gs_int K, gs_int ars, gs_int acs, gs_int brs, gs_int bcs, gs_int crs, gs_int ccs);
gs_int gs_packed_bf16(gs_int K, gs_int N);
void gs_pack_bf16(gs_int K, gs_int N, const float *B, gs_int brs, gs_int bcs, uint32_t *P);
void gs_gemm_packed_bf16(gs_int M, gs_int N, gs_int K, const float *A, gs_int ars, const uint32_t *P, float *C, gs_int crs, int add,
                        gs_int part, gs_int parts);

void gs_uniform_f32(gs_int n, gs_int seed, gs_int step, const gs_int *indices, gs_int depth, gs_int site, float *out);
void gs_uniform_f64(gs_int n, gs_int seed, gs_int step, const gs_int *indices, gs_int depth, gs_int site, double *out);
void gs_normal_f32(gs_int n, gs_int seed, gs_int step, const gs_int *indices, gs_int depth, gs_int site, float *out);
void gs_normal_f64(gs_int n, gs_int seed, gs_int step, const gs_int *indices, gs_int depth, gs_int site, double *out);

/* Seconds on a clock that only goes on; GS_TICK adds what has passed since the last one to a sum. */
double gs_clock(void);
#define GS_TICK(sum)                                                                                                                   \
    do {                                                                                                                               \
        double then = now;                                                                                                             \
        now = gs_clock();                                                                                                              \
        sum += now - then;                                                                                                             \
    } while (0)

/* -- arithmetic ------------------------------------------------------------------------------------------------------------ */

#define GS_INLINE static inline __attribute__((always_inline, unused))

GS_INLINE gs_int gs_min(gs_int a, gs_int b) { return a < b ? a : b; }
GS_INLINE gs_int gs_max(gs_int a, gs_int b) { return a > b ? a : b; }

/* The turns from which on a loop that multiplies so many rows by a matrix, of so many bytes, packs it first.  One row by a matrix that no
   second-level cache holds takes as long as reading it, packed or not, and packing as long as four such turns. */
GS_INLINE gs_int gs_turns(gs_int rows, gs_int bytes) { return rows == 1 && bytes > 4 << 20 ? 64 : 3; }

/* The larger and the smaller; NaN if either is. */
#define GS_LARGER(a, b) ((a) > (b) || (a) != (a) ? (a) : (b))
#define GS_SMALLER(a, b) ((a) < (b) || (a) != (a) ? (a) : (b))
#define GS_SIGN(a) ((a) > 0 ? 1 : (a) < 0 ? -1 : (a))

#pragma omp declare reduction(gs_larger : float : omp_out = GS_LARGER(omp_out, omp_in)) initializer(omp_priv = -INFINITY)
#pragma omp declare reduction(gs_larger : double : omp_out = GS_LARGER(omp_out, omp_in)) initializer(omp_priv = -INFINITY)

/* a * b + c, rounded once where the processor does that in one instruction; and from where on the polynomials for tanh are 1 then. */
#if defined(__FMA__) || defined(__FP_FAST_FMAF)
#define GS_HORNER(a, b, c) __builtin_fmaf(a, b, c)
#define GS_TANH_ONE 7.99881172180175781f
#else
#define GS_HORNER(a, b, c) ((a) * (b) + (c))
#define GS_TANH_ONE 7.90531110763549805f
#endif

/* Hyperbolic tangent as a quotient of two odd and even polynomials; relative error below 4e-7, and 1 beyond 8. */
GS_INLINE float gs_tanh_f32(float x)
{
    float y = x > GS_TANH_ONE ? GS_TANH_ONE : x;
    y = y < -GS_TANH_ONE ? -GS_TANH_ONE : y;
    float s = y * y;
    float p = -2.76076847742355e-16f;
    p = GS_HORNER(p, s, 2.00018790482477e-13f);
    p = GS_HORNER(p, s, -8.60467152213735e-11f);
    p = GS_HORNER(p, s, 5.12229709037114e-08f);
    p = GS_HORNER(p, s, 1.48572235717979e-05f);
    p = GS_HORNER(p, s, 6.37261928875436e-04f);
    p = GS_HORNER(p, s, 4.89352455891786e-03f);
    float q = 1.19825839466702e-06f;
    q = GS_HORNER(q, s, 1.18534705686654e-04f);
    q = GS_HORNER(q, s, 2.26843463243900e-03f);
    q = GS_HORNER(q, s, 4.89352518554385e-03f);
    return y * p / q;
}

/* e^x: 2^n e^r with |r| <= log(2)/2, and a polynomial for e^r; relative error below 1e-7.  From 0 below the smallest normal
   number to infinity above the largest, whose logarithm is 88.72. */
GS_INLINE float gs_exp_f32(float x)
{
    float y = x < -87.3f ? -87.3f : x;
    y = y > 88.7228317f ? 88.7228317f : y;
    float n = __builtin_rintf(y * 1.44269504088896341f);
    float r = GS_HORNER(n, -0.693359375f, y);
    r = GS_HORNER(n, 2.12194440e-4f, r);
    float p = 1.9875691500e-4f;
    p = GS_HORNER(p, r, 1.3981999507e-3f);
    p = GS_HORNER(p, r, 8.3334519073e-3f);
    p = GS_HORNER(p, r, 4.1665795894e-2f);
    p = GS_HORNER(p, r, 1.6666665459e-1f);
    p = GS_HORNER(p, r, 5.0000001201e-1f);
    union {
        float number;
        uint32_t bits;
    } e = {GS_HORNER(p * r, r, r) + 1.0f};
    e.bits += (uint32_t)(int32_t)n << 23; /* 2^128 is no number, 2^128 times less than 1 is one */
    e.number = x < -87.3f ? 0.0f : e.number;
    return x > 88.7228317f ? INFINITY : e.number;
}

/* Half a tanh and a half would be faster, and 0 where this is 1e-8: a sure answer that is wrong would have no gradient. */
GS_INLINE float gs_sigmoid_f32(float x) { return 1.0f / (1.0f + gs_exp_f32(-x)); }
GS_INLINE double gs_tanh_f64(double x) { return tanh(x); }
GS_INLINE double gs_exp_f64(double x) { return exp(x); }
GS_INLINE double gs_sigmoid_f64(double x) { return 1.0 / (1.0 + exp(-x)); }

#endif
