/* What gemm.h leaves open where panels hold the numbers themselves. */

/* LANES rows from places so far apart, their columns as rows to others: each round puts the vectors of one half between those of the other. */
static void NAME(turn)(const REAL *from, gs_int from_stride, REAL *to, gs_int to_stride)
{
#if defined(__clang__) || !defined(__GNUC__)
    for (int j = 0; j < LANES; ++j)
        for (int k = 0; k < LANES; ++k) to[k * to_stride + j] = from[j * from_stride + k];
#else
    enum { HALF = LANES / 2 };
    NAME(vector) rows[LANES], mixed[LANES];
    __typeof__(rows[0] < rows[0]) low, high; /* which elements of two vectors come first when they alternate, and which follow */
    UNROLLED for (int i = 0; i < LANES; ++i) low[i] = i / 2 + i % 2 * LANES, high[i] = low[i] + HALF;
    UNROLLED for (int j = 0; j < LANES; ++j) rows[j] = *(const NAME(vector) *)(from + j * from_stride);
    UNROLLED for (int round = 1; round < LANES; round *= 2) {
        UNROLLED for (int i = 0; i < HALF; ++i) {
            mixed[2 * i] = __builtin_shuffle(rows[i], rows[i + HALF], low);
            mixed[2 * i + 1] = __builtin_shuffle(rows[i], rows[i + HALF], high);
        }
        UNROLLED for (int i = 0; i < LANES; ++i) rows[i] = mixed[i];
    }
    UNROLLED for (int k = 0; k < LANES; ++k) *(NAME(vector) *)(to + k * to_stride) = rows[k];
#endif
}

/* Numbers that lie in order, some vectors of them: what compilers make of memcpy takes twice as long. */
GS_INLINE void NAME(copy)(gs_int count, const REAL *from, REAL *to)
{
    gs_int i = 0;
    for (; i + LANES <= count; i += LANES) *(NAME(vector) *)(to + i) = *(const NAME(vector) *)(from + i);
    for (; i < count; ++i) to[i] = from[i];
}

static void NAME(pack_panel)(gs_int K, gs_int columns, gs_int width, const REAL *B, gs_int brs, gs_int bcs, ITEM *P)
{
    if (columns < width) memset(P, 0, (size_t)(K * width) * sizeof(REAL));
    if (bcs == 1) {
        for (gs_int k = 0; k < K; ++k) NAME(copy)(columns, B + k * brs, P + k * width);
        return;
    }
    for (gs_int k0 = 0; k0 < K; k0 += LANES) {
        gs_int depth = gs_min(LANES, K - k0);
        for (gs_int j0 = 0; j0 < columns; j0 += LANES) {
            gs_int across = gs_min(LANES, columns - j0);
            const REAL *from = B + k0 * brs + j0 * bcs;
            REAL *to = P + k0 * width + j0;
            if (depth == LANES && across == LANES && brs == 1)
                NAME(turn)(from, bcs, to, width);
            else
                for (gs_int k = 0; k < depth; ++k)
                    for (gs_int j = 0; j < across; ++j) to[k * width + j] = from[k * brs + j * bcs];
        }
    }
}

static const ITEM *NAME(left)(gs_int M, gs_int K, const REAL *A, gs_int ars, gs_int acs, ITEM *block, gs_int *rs, gs_int *cs)
{
    *rs = ars, *cs = acs;
    if (acs == 1) return A;
    for (gs_int q = 0; q < K; ++q) { /* columns of A as rows of the block */
        if (ars == 1)
            NAME(copy)(M, A + q * acs, block + q * M);
        else
            for (gs_int i = 0; i < M; ++i) block[q * M + i] = A[i * ars + q * acs];
    }
    *rs = 1, *cs = M;
    return block;
}

/* One row times a matrix whose columns lie in order: each number is a product of two vectors. */
static void NAME(dots)(gs_int N, gs_int K, const REAL *A, const REAL *B, gs_int bcs, REAL *C, int add)
{
    gs_int j = 0;
    for (; j + 4 <= N; j += 4) {
        const REAL *b = B + j * bcs, *c = b + bcs, *d = c + bcs, *e = d + bcs;
        REAL p = 0, q = 0, r = 0, s = 0;
#pragma omp simd reduction(+ : p, q, r, s)
        for (gs_int k = 0; k < K; ++k) p += A[k] * b[k], q += A[k] * c[k], r += A[k] * d[k], s += A[k] * e[k];
        C[j] = add ? C[j] + p : p;
        C[j + 1] = add ? C[j + 1] + q : q;
        C[j + 2] = add ? C[j + 2] + r : r;
        C[j + 3] = add ? C[j + 3] + s : s;
    }
    for (; j < N; ++j) {
        REAL p = 0;
#pragma omp simd reduction(+ : p)
        for (gs_int k = 0; k < K; ++k) p += A[k] * B[j * bcs + k];
        C[j] = add ? C[j] + p : p;
    }
}

enum { NAME(SOME) = 512 }; /* numbers of a row or a column that are copied at once, so that they lie in order */

/* One row times a matrix, without a library's overhead: four columns, or four rows, of the matrix at a time. */
static void NAME(row)(gs_int N, gs_int K, const REAL *A, gs_int acs, const REAL *B, gs_int brs, gs_int bcs, REAL *C, int add)
{
    if (bcs != 1 && brs == 1 && K >= LANES) {
        if (acs == 1) {
            NAME(dots)(N, K, A, B, bcs, C, add);
            return;
        }
        REAL some[NAME(SOME)];
        for (gs_int k = 0; k < K; k += NAME(SOME)) {
            gs_int count = gs_min(NAME(SOME), K - k);
            for (gs_int q = 0; q < count; ++q) some[q] = A[(k + q) * acs];
            NAME(dots)(N, count, some, B + k, bcs, C, add || k > 0);
        }
        return;
    }
    if (bcs != 1) { /* short sums, or what lies in no order */
        for (gs_int j = 0; j < N; ++j) {
            REAL p = 0;
            for (gs_int k = 0; k < K; ++k) p += A[k * acs] * B[k * brs + j * bcs];
            C[j] = add ? C[j] + p : p;
        }
        return;
    }
    if (!add) memset(C, 0, (size_t)N * sizeof(REAL));
    gs_int k = 0;
    for (; k + 4 <= K; k += 4) {
        const REAL *b = B + k * brs, *c = b + brs, *d = c + brs, *e = d + brs;
        REAL p = A[k * acs], q = A[(k + 1) * acs], r = A[(k + 2) * acs], s = A[(k + 3) * acs];
#pragma omp simd
        for (gs_int j = 0; j < N; ++j) C[j] += p * b[j] + q * c[j] + r * d[j] + s * e[j];
    }
    for (; k < K; ++k) {
        const REAL *b = B + k * brs;
        REAL p = A[k * acs];
#pragma omp simd
        for (gs_int j = 0; j < N; ++j) C[j] += p * b[j];
    }
}

enum { NAME(FEW_COLUMNS) = 12, NAME(MANY_ROWS) = 8 };

/* Few columns: each a row times the transpose of A, where A is `turned`, its columns in order; else each number a product of two vectors. */
static void NAME(narrow)(gs_int M, gs_int N, gs_int K, const REAL *A, gs_int ars, gs_int acs, const REAL *B, gs_int brs, gs_int bcs, REAL *C,
                         gs_int crs, int add, int turned)
{
    enum { SOME = NAME(SOME) };
    REAL columns[NAME(FEW_COLUMNS)][SOME], *row = columns[0];
    if (turned) {
        for (gs_int m = 0; m < M; m += SOME)
            for (gs_int j = 0; j < N; ++j) {
                gs_int rows = gs_min(SOME, M - m);
                NAME(row)(rows, K, B + j * bcs, brs, A + m, acs, 1, row, 0);
                for (gs_int i = 0; i < rows; ++i) C[(m + i) * crs + j] = add ? C[(m + i) * crs + j] + row[i] : row[i];
            }
        return;
    }
    for (gs_int k = 0; k < K; k += SOME) {
        gs_int count = gs_min(SOME, K - k);
        for (gs_int q = 0; q < count && brs != 1; ++q)
            for (gs_int j = 0; j < N; ++j) columns[j][q] = B[(k + q) * brs + j * bcs];
        for (gs_int i = 0; i < M; ++i)
            NAME(row)(N, count, A + i * ars + k * acs, acs, brs == 1 ? B + k : row, 1, brs == 1 ? bcs : SOME, C + i * crs, add || k > 0);
    }
}

/* Products that packing would cost more than it gains: of few rows, of few columns, and small ones.  1 if it was done. */
static int NAME(small)(gs_int M, gs_int N, gs_int K, const REAL *A, gs_int ars, gs_int acs, const REAL *B, gs_int brs, gs_int bcs, REAL *C,
                       gs_int crs, int add, gs_int all)
{
    if (N == 1 && all > 1 && crs == 1) {
        NAME(row)(M, K, B, brs, A, acs, ars, C, add);
        return 1;
    }
    int turned = ars == 1 && acs != 1 && all >= NAME(MANY_ROWS);
    if (all > 1 && N <= NAME(FEW_COLUMNS) && (turned || K >= 16 * LANES)) {
        NAME(narrow)(M, N, K, A, ars, acs, B, brs, bcs, C, crs, add, turned);
        return 1;
    }
    if (all > (bcs == 1 || K >= 4 * LANES ? 4 : 1) && all * N * K > 4096) return 0;
    for (gs_int i = 0; i < M; ++i) NAME(row)(N, K, A + i * ars, acs, B, brs, bcs, C + i * crs, add);
    return 1;
}

#ifdef OWN_PRODUCTS
static gs_int NAME(inner)(gs_int M, gs_int N, gs_int K, gs_int ars, gs_int acs, gs_int brs, gs_int bcs)
{
    (void)M, (void)ars, (void)acs, (void)brs, (void)bcs;
    return NAME(blocks)(N, K);
}

static void NAME(large)(gs_int M, gs_int N, gs_int K, const REAL *A, gs_int ars, gs_int acs, const REAL *B, gs_int brs, gs_int bcs, REAL *C,
                        gs_int crs, int add)
{
    NAME(shared)(M, N, K, A, ars, acs, B, brs, bcs, C, crs, add);
}
#else
#define BLAS_OF(INTEGER)                                                                                                               \
    void (*)(int, int, int, INTEGER, INTEGER, INTEGER, REAL, const REAL *, INTEGER, const REAL *, INTEGER, REAL, REAL *, INTEGER)

/* By NumPy's library; `a` and `b`: whether the operand's rows lie in order, else its columns do. */
static void NAME(call)(int a, int b, gs_int M, gs_int N, gs_int K, const REAL *A, gs_int lda, const REAL *B, gs_int ldb, REAL *C,
                       gs_int ldc, int add)
{
    int ta = a ? AS_IT_IS : TRANSPOSED, tb = b ? AS_IT_IS : TRANSPOSED;
    if (blas_wide)
        ((BLAS_OF(int64_t))NAME(blas))(ROW_MAJOR, ta, tb, M, N, K, 1, A, lda, B, ldb, (REAL)add, C, ldc);
    else
        ((BLAS_OF(int32_t))NAME(blas))(ROW_MAJOR, ta, tb, (int32_t)M, (int32_t)N, (int32_t)K, 1, A, (int32_t)lda, B, (int32_t)ldb,
                                       (REAL)add, C, (int32_t)ldc);
}
#undef BLAS_OF

/* Whether a library can read a matrix as it lies. */
static int NAME(flat)(gs_int rows, gs_int columns, gs_int rs, gs_int cs) { return (cs == 1 && rs >= columns) || (rs == 1 && cs >= rows); }

static gs_int NAME(inner)(gs_int M, gs_int N, gs_int K, gs_int ars, gs_int acs, gs_int brs, gs_int bcs)
{
    if (!NAME(blas)) return NAME(blocks)(N, K);
    return ((NAME(flat)(M, K, ars, acs) ? 0 : M * K) + (NAME(flat)(K, N, brs, bcs) ? 0 : K * N)) * (gs_int)sizeof(REAL);
}

static void NAME(large)(gs_int M, gs_int N, gs_int K, const REAL *A, gs_int ars, gs_int acs, const REAL *B, gs_int brs, gs_int bcs, REAL *C,
                        gs_int crs, int add)
{
    if (!NAME(blas)) {
        NAME(shared)(M, N, K, A, ars, acs, B, brs, bcs, C, crs, add);
        return;
    }
    gs_int copied = 0;
    if (!NAME(flat)(M, K, ars, acs)) A = NAME(staged)(M, K, A, ars, acs, 0), ars = K, acs = 1, copied = M * K * (gs_int)sizeof(REAL);
    if (!NAME(flat)(K, N, brs, bcs)) B = NAME(staged)(K, N, B, brs, bcs, copied), brs = N, bcs = 1;
    int a_rows = acs == 1 && ars >= K, b_rows = bcs == 1 && brs >= N;
    NAME(call)(a_rows, b_rows, M, N, K, A, a_rows ? ars : acs, B, b_rows ? brs : bcs, C, gs_max(crs, N), add);
}
#endif
