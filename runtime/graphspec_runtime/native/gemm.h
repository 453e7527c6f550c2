/* Matrix products for one type of numbers, REAL, and one of what panels hold of them, ITEM (TERMS numbers of a column, one below the other):
   NAME(stem), LANES in a vector, MULTIPLY_ADD(c, a, b), TILE_ROWS, TILE_VECTORS.  The items of a column are a multiple of STRIDE, the last
   ones 0.  What differs more follows in plain.h or bf16.h.

   The matrix lies in panels of TILE columns, each panel row after row, so that the innermost loop reads it in order; a tile of TILE_ROWS
   by TILE stays in registers for the whole sum. */

#define TILE (TILE_VECTORS * LANES)
#define LINE (gs_int)(64 / sizeof(ITEM)) /* items in a cache line */
typedef REAL NAME(vector) __attribute__((vector_size(LANES * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));
typedef ITEM NAME(items) __attribute__((vector_size(LANES * sizeof(ITEM)), aligned(sizeof(ITEM)), may_alias));

/* Pack K rows of so many columns into a panel of a width; what is beyond them becomes 0. */
static void NAME(pack_panel)(gs_int K, gs_int columns, gs_int width, const REAL *B, gs_int brs, gs_int bcs, ITEM *P);
/* M rows of K numbers as items: A itself or a copy in `block`, of at most padded(M) * depth(K) items; *rs and *cs become its strides. */
static const ITEM *NAME(left)(gs_int M, gs_int K, const REAL *A, gs_int ars, gs_int acs, ITEM *block, gs_int *rs, gs_int *cs);
/* A product by a way that is faster where little is to be done: whether there was one.  K > 0, rows of C lie in order, and there are `all`. */
static int NAME(small)(gs_int M, gs_int N, gs_int K, const REAL *A, gs_int ars, gs_int acs, const REAL *B, gs_int brs, gs_int bcs, REAL *C,
                       gs_int crs, int add, gs_int all);
static void NAME(large)(gs_int M, gs_int N, gs_int K, const REAL *A, gs_int ars, gs_int acs, const REAL *B, gs_int brs, gs_int bcs, REAL *C,
                        gs_int crs, int add);
/* Bytes of workspace that the two take at most, and gs_gemm_packed. */
static gs_int NAME(inner)(gs_int M, gs_int N, gs_int K, gs_int ars, gs_int acs, gs_int brs, gs_int bcs);

/* Around products of M rows on one thread: what a processor has to be told before and after. */
static void NAME(begin)(gs_int M);
static void NAME(end)(void);
/* All rows times one panel by other registers than those of vectors, if there are some: whether it was done.  Rows of A lie in order. */
static int NAME(whole)(gs_int M, gs_int depth, const ITEM *A, gs_int ars, const ITEM *P, REAL *C, gs_int crs, gs_int columns, int add);
#if STRIDE == 1
static void NAME(begin)(gs_int M) { (void)M; }
static void NAME(end)(void) {}
static int NAME(whole)(gs_int M, gs_int depth, const ITEM *A, gs_int ars, const ITEM *P, REAL *C, gs_int crs, gs_int columns, int add)
{
    (void)M, (void)depth, (void)A, (void)ars, (void)P, (void)C, (void)crs, (void)columns, (void)add;
    return 0;
}
#endif

/* Items in a column of K numbers. */
static gs_int NAME(depth)(gs_int K) { return (K + TERMS * STRIDE - 1) / (TERMS * STRIDE) * STRIDE; }

/* Rows that there is room for in a copy of so many. */
static gs_int NAME(padded)(gs_int M) { return (M + 31) / 32 * 32; }

/* The width of the panel that begins with so many columns left: the last one is as narrow as whole vectors can be. */
static gs_int NAME(wide)(gs_int left) { return left >= TILE ? TILE : (left + LANES - 1) / LANES * LANES; }

gs_int NAME(gs_packed)(gs_int K, gs_int N) { return (N / TILE * TILE + NAME(wide)(N % TILE)) * NAME(depth)(K); }

typedef struct {
    gs_int K, N, brs, bcs;
    const REAL *B;
    ITEM *P;
} NAME(matrix);

/* One part of the panels. */
static void NAME(panels)(void *context, gs_int part, gs_int parts)
{
    const NAME(matrix) *p = context;
    gs_int count = (p->N + TILE - 1) / TILE, to = gs_min(count * (part + 1) / parts * TILE, p->N);
    for (gs_int j = count * part / parts * TILE; j < to; j += TILE)
        NAME(pack_panel)(p->K, gs_min(TILE, to - j), NAME(wide)(p->N - j), p->B + j * p->bcs, p->brs, p->bcs, p->P + j * NAME(depth)(p->K));
}

void NAME(gs_pack)(gs_int K, gs_int N, const REAL *B, gs_int brs, gs_int bcs, ITEM *P)
{
    NAME(matrix) p = {K, N, brs, bcs, B, P};
    gs_parallel(NAME(panels), &p, gs_parts(K * N, (N + TILE - 1) / TILE));
}

/* What is read after a panel, in bytes: a tile fetches a line at each `step`, the tile after it begins a `hop` further. */
typedef struct {
    const char *at;
    gs_int step, hop;
} NAME(ahead);

/* The next panel that is packed, so many items deep. */
static NAME(ahead) NAME(packed)(const ITEM *P, gs_int depth) { return (NAME(ahead)){(const char *)P, 64, 64 * depth}; }

/* Rows of the columns that are packed next. */
static NAME(ahead) NAME(unpacked)(const REAL *B, gs_int brs)
{
    return (NAME(ahead)){(const char *)B, brs * TERMS * (gs_int)sizeof(REAL), 64};
}

/* One tile of ROWS rows and VECTORS vectors: the sum over k, which counts items here, in registers.  Meanwhile lines of what is read
   after this panel come nearer, one a turn: the third-level cache alone brings them at half the speed that they are used with. */
#define TILE_OF(ROWS, VECTORS)                                                                                                        \
    static void NAME(tile##ROWS##x##VECTORS)(gs_int K, const ITEM *restrict A, gs_int ars, gs_int acs, const ITEM *restrict P,        \
                                             const char *next, gs_int step, REAL *restrict C, gs_int crs, int add)                    \
    {                                                                                                                                 \
        enum { WIDTH = VECTORS * LANES };                                                                                             \
        NAME(vector) c[ROWS][VECTORS];                                                                                                \
        UNROLLED for (int i = 0; i < ROWS; ++i)                                                                                       \
            UNROLLED for (int j = 0; j < VECTORS; ++j) {                                                                              \
                c[i][j] = (NAME(vector)){0};                                                                                          \
                __builtin_prefetch(C + i * crs + j * LANES, 1); /* it is on its way while the sum is made */                          \
            }                                                                                                                         \
        for (gs_int k = 0; k < K; ++k) {                                                                                              \
            NAME(items) b[VECTORS];                                                                                                   \
            UNROLLED for (int j = 0; j < VECTORS; ++j) b[j] = *(const NAME(items) *)(P + k * WIDTH + j * LANES);                      \
            if (ROWS > 1) __builtin_prefetch(next + k * step, 0, 2);                                                                  \
            UNROLLED for (int i = 0; i < ROWS; ++i) {                                                                                 \
                NAME(items) a = A[i * ars + k * acs] - (NAME(items)){0};                                                              \
                UNROLLED for (int j = 0; j < VECTORS; ++j) c[i][j] = MULTIPLY_ADD(c[i][j], a, b[j]);                                  \
            }                                                                                                                         \
        }                                                                                                                             \
        UNROLLED for (int i = 0; i < ROWS; ++i)                                                                                       \
            UNROLLED for (int j = 0; j < VECTORS; ++j) {                                                                              \
                NAME(vector) *to = (NAME(vector) *)(C + i * crs + j * LANES);                                                         \
                if (add) c[i][j] += *to;                                                                                              \
                *to = c[i][j];                                                                                                        \
            }                                                                                                                         \
    }
#define TILES_OF(VECTORS)                                                                                                             \
    TILE_OF(1, VECTORS)                                                                                                               \
    TILE_OF(2, VECTORS)                                                                                                               \
    TILE_OF(3, VECTORS)                                                                                                               \
    TILE_OF(4, VECTORS)                                                                                                               \
    TILE_OF(5, VECTORS)                                                                                                               \
    TILE_OF(6, VECTORS)
TILES_OF(1)
TILES_OF(2)
#if TILE_VECTORS > 2
TILES_OF(3)
TILES_OF(4)
#endif

typedef void (*NAME(tile))(gs_int, const ITEM *, gs_int, gs_int, const ITEM *, const char *, gs_int, REAL *, gs_int, int);

#define ROW_OF_TILES(ROWS) {NAME(tile##ROWS##x1), NAME(tile##ROWS##x2), LARGER(NAME(tile##ROWS##x3), NAME(tile##ROWS##x4))}
#if TILE_VECTORS > 2
#define LARGER(a, b) a, b
#else
#define LARGER(a, b) NULL, NULL
#endif
static const NAME(tile) NAME(tiles)[TILE_ROWS][4] = {ROW_OF_TILES(1), ROW_OF_TILES(2), ROW_OF_TILES(3),
                                                     ROW_OF_TILES(4), ROW_OF_TILES(5), ROW_OF_TILES(6)};

/* All rows times one panel, in tiles of as equal heights as can be. */
static void NAME(panel)(gs_int M, gs_int K, const ITEM *A, gs_int ars, gs_int acs, const ITEM *P, NAME(ahead) next, REAL *C, gs_int crs,
                        gs_int columns, int add)
{
    if (NAME(whole)(M, K, A, ars, P, C, crs, columns, add)) return;
    gs_int tiles = (M + TILE_ROWS - 1) / TILE_ROWS, width = NAME(wide)(columns), vectors = width / LANES;
    REAL spare[TILE_ROWS * TILE]; /* where a tile is wider than what is left */
    for (gs_int t = 0, m = 0; t < tiles; ++t) {
        gs_int rows = (M - m + tiles - t - 1) / (tiles - t);
        if (t * LINE >= TILE) next = NAME(packed)(P, 0); /* all of it was fetched */
        NAME(tile) tile = NAME(tiles)[rows - 1][vectors - 1];
        const ITEM *a = A + m * ars;
        const char *ahead = next.at + t * next.hop;
        REAL *to = C + m * crs;
        m += rows;
        if (columns == width) {
            tile(K, a, ars, acs, P, ahead, next.step, to, crs, add);
            continue;
        }
        tile(K, a, ars, acs, P, ahead, next.step, spare, width, 0);
        for (gs_int i = 0; i < rows; ++i)
#pragma omp simd
            for (gs_int j = 0; j < columns; ++j)
                to[i * crs + j] = add ? to[i * crs + j] + spare[i * width + j] : spare[i * width + j];
    }
}

enum { NAME(HEIGHT) = STRIDE > 1 ? 256 : 40 * TILE_ROWS };

/* Where a part of so many columns begins: whole panels, of as equal numbers of columns as can be. */
static gs_int NAME(begins)(gs_int N, gs_int part, gs_int parts)
{
    return part < parts ? gs_min(N, (N * part / parts + TILE / 2) / TILE * TILE) : N;
}

void NAME(gs_gemm_packed)(gs_int M, gs_int N, gs_int K, const REAL *A, gs_int ars, const ITEM *P, REAL *C, gs_int crs, int add, gs_int part,
                          gs_int parts)
{
    gs_int depth = NAME(depth)(K), height = TERMS > 1 ? NAME(HEIGHT) : M, rs, cs;
    gs_int from = NAME(begins)(N, part, parts), to = NAME(begins)(N, part + 1, parts);
    for (gs_int m = 0; m < M; m += height) {
        gs_int rows = gs_min(height, M - m);
        ITEM *block = TERMS > 1 ? gs_workspace(NAME(padded)(rows) * depth * (gs_int)sizeof(ITEM)) : NULL;
        const ITEM *a = NAME(left)(rows, K, A + m * ars, ars, 1, block, &rs, &cs);
        NAME(begin)(rows);
        for (gs_int j = from; j < to; j += TILE)
            NAME(panel)(rows, depth, a, rs, cs, P + j * depth, NAME(packed)(P + (j + TILE < to ? j + TILE : from) * depth, depth),
                        C + m * crs + j, crs, gs_min(TILE, to - j), add);
    }
    NAME(end)();
}

/* Large products: blocks of B packed into panels that the third-level cache holds, against blocks of A that the second-level cache holds. */
enum { NAME(DEPTH) = 512, NAME(WIDTH) = 128 * LANES };

/* Of so many items in a column, those of the next block, where as many blocks are left. */
static gs_int NAME(next)(gs_int items, gs_int blocks) { return (items / STRIDE + blocks - 1) / blocks * STRIDE; }

/* Items in a column of the deepest block, columns of the widest, and bytes of both. */
static gs_int NAME(deepest)(gs_int K)
{
    gs_int items = NAME(depth)(K);
    return items ? NAME(next)(items, (items + NAME(DEPTH) - 1) / NAME(DEPTH)) : 0;
}
static gs_int NAME(widest)(gs_int N) { return gs_min(NAME(WIDTH), (N + LANES - 1) / LANES * LANES); }
static gs_int NAME(blocks)(gs_int N, gs_int K) { return (NAME(widest)(N) + NAME(HEIGHT)) * NAME(deepest)(K) * (gs_int)sizeof(ITEM); }

static void NAME(own)(gs_int M, gs_int N, gs_int K, const REAL *A, gs_int ars, gs_int acs, const REAL *B, gs_int brs, gs_int bcs, REAL *C,
                      gs_int crs, int add)
{
    enum { HEIGHT = NAME(HEIGHT), WIDTH = NAME(WIDTH) };
    gs_int items = NAME(depth)(K), depths = (items + NAME(DEPTH) - 1) / NAME(DEPTH);
    int once = M <= HEIGHT; /* the place of one panel does for all, and stays near */
    ITEM *P = gs_workspace(NAME(blocks)(N, K)), *block = P + NAME(widest)(N) * NAME(deepest)(K);
    for (gs_int n = 0; n < N; n += WIDTH) {
        gs_int columns = gs_min(WIDTH, N - n);
        for (gs_int q = 0, d = 0; d < depths; ++d) {
            gs_int depth = NAME(next)(items - q, depths - d), k = q * TERMS, terms = gs_min(depth * TERMS, K - k), rs, cs;
            for (gs_int m = 0; m < M; m += HEIGHT) {
                gs_int height = gs_min(HEIGHT, M - m);
                const ITEM *a = NAME(left)(height, terms, A + m * ars + k * acs, ars, acs, block, &rs, &cs);
                NAME(begin)(height);
                for (gs_int j = 0; j < columns; j += TILE) {
                    gs_int across = gs_min(TILE, columns - j), after = j + TILE < columns ? j + TILE : 0;
                    const REAL *b = B + k * brs + n * bcs;
                    ITEM *panel = P + (once ? 0 : j * depth);
                    if (m == 0) /* used while it is near */
                        NAME(pack_panel)(terms, across, NAME(wide)(across), b + j * bcs, brs, bcs, panel);
                    NAME(panel)(height, depth, a, rs, cs, panel,
                                m == 0 && bcs == 1 && after ? NAME(unpacked)(b + after, brs) : NAME(packed)(P + after * depth, depth),
                                C + m * crs + n + j, crs, across, add || q > 0);
                }
            }
            q += depth;
        }
    }
    NAME(end)();
}

/* A large product among the team: by columns where there are panels enough, else by rows.  Each number is computed as by one thread. */
typedef struct {
    gs_int M, N, K, ars, acs, brs, bcs, crs;
    const REAL *A, *B;
    REAL *C;
    int add, by_rows;
} NAME(product);

static void NAME(part)(void *context, gs_int part, gs_int parts)
{
    const NAME(product) *p = context;
    gs_int unit = p->by_rows ? TILE_ROWS : TILE, units = ((p->by_rows ? p->M : p->N) + unit - 1) / unit;
    gs_int from = units * part / parts * unit, to = gs_min(units * (part + 1) / parts * unit, p->by_rows ? p->M : p->N);
    if (from >= to) return;
    if (p->by_rows)
        NAME(own)(to - from, p->N, p->K, p->A + from * p->ars, p->ars, p->acs, p->B, p->brs, p->bcs, p->C + from * p->crs, p->crs, p->add);
    else
        NAME(own)(p->M, to - from, p->K, p->A, p->ars, p->acs, p->B + from * p->bcs, p->brs, p->bcs, p->C + from, p->crs, p->add);
}

static void NAME(shared)(gs_int M, gs_int N, gs_int K, const REAL *A, gs_int ars, gs_int acs, const REAL *B, gs_int brs, gs_int bcs, REAL *C,
                         gs_int crs, int add)
{
    gs_int threads = gs_threads();
    NAME(product) p = {M, N, K, ars, acs, brs, bcs, crs, A, B, C, add, N < 4 * TILE * threads && M > N};
    gs_parallel(NAME(part), &p, M * N * K < 1 << 19 ? 1 : threads);
}

/* A copy of a matrix in the workspace, so many bytes behind its beginning. */
static REAL *NAME(staged)(gs_int rows, gs_int columns, const REAL *X, gs_int rs, gs_int cs, gs_int behind)
{
    REAL *copy = (REAL *)((char *)gs_workspace(behind + rows * columns * (gs_int)sizeof(REAL)) + behind);
    for (gs_int i = 0; i < rows; ++i)
        for (gs_int j = 0; j < columns; ++j) copy[i * columns + j] = X[i * rs + j * cs];
    return copy;
}

gs_int NAME(gs_scratch)(gs_int M, gs_int N, gs_int K, gs_int ars, gs_int acs, gs_int brs, gs_int bcs, gs_int crs, gs_int ccs)
{
    if (M <= 0 || N <= 0) return 0;
    if (ccs != 1 && crs == 1) return NAME(gs_scratch)(N, M, K, bcs, brs, acs, ars, ccs, crs);
    gs_int copy = ccs != 1 && N > 1 ? M * N * (gs_int)sizeof(REAL) : 0;
    return copy + NAME(inner)(M, N, K, ars, acs, brs, bcs);
}

void NAME(gs_gemm)(gs_int M, gs_int N, gs_int K, const REAL *A, gs_int ars, gs_int acs, const REAL *B, gs_int brs, gs_int bcs, REAL *C,
                   gs_int crs, gs_int ccs, int add, gs_int all)
{
    if (M <= 0 || N <= 0) return;
    if (ccs != 1 && crs == 1) { /* the transpose of the product is the product of the transposes */
        NAME(gs_gemm)(N, M, K, B, bcs, brs, A, acs, ars, C, ccs, crs, add, N);
        return;
    }
    if (ccs != 1 && N > 1) { /* neither rows nor columns of C lie in order */
        REAL *copy = NAME(staged)(M, N, C, crs, ccs, NAME(inner)(M, N, K, ars, acs, brs, bcs));
        NAME(gs_gemm)(M, N, K, A, ars, acs, B, brs, bcs, copy, N, 1, add, all);
        for (gs_int i = 0; i < M; ++i)
            for (gs_int j = 0; j < N; ++j) C[i * crs + j * ccs] = copy[i * N + j];
        return;
    }
    if (K <= 0) {
        if (!add)
            for (gs_int i = 0; i < M; ++i) memset(C + i * crs, 0, (size_t)N * sizeof(REAL));
        return;
    }
    if (!NAME(small)(M, N, K, A, ars, acs, B, brs, bcs, C, crs, add, all)) NAME(large)(M, N, K, A, ars, acs, B, brs, bcs, C, crs, add);
}

#undef TILE
#undef LINE
#undef TILE_OF
#undef TILES_OF
#undef ROW_OF_TILES
#undef LARGER
