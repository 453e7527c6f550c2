/* What gemm.h leaves open for products of float32 in bf16: panels hold pairs of numbers rounded to bf16 (to the nearest, ties to even),
   pairs are multiplied and added to sums in float32.  For processors with AVX-512 BF16; where they also have AMX, tiles of 16 by 16 sums. */

/* The first so many of sixteen numbers, the others 0. */
GS_INLINE __m512 NAME(some)(const float *from, gs_int count)
{
    return count <= 0 ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(count >= 16 ? 0xffff : (1u << count) - 1, from);
}

/* Up to 32 numbers with this stride as sixteen pairs. */
GS_INLINE __m512i NAME(pairs)(const float *from, gs_int stride, gs_int count)
{
    float row[32];
    if (stride != 1) {
        count = gs_min(count, 32);
        for (gs_int k = 0; k < count; ++k) row[k] = from[k * stride];
        from = row;
    }
    return (__m512i)_mm512_cvtne2ps_pbh(NAME(some)(from + 16, count - 16), NAME(some)(from, count));
}

/* Two rows of up to sixteen numbers, of which so many rows are there, as one of pairs. */
GS_INLINE __m512i NAME(rows_as_pairs)(const float *from, gs_int stride, gs_int count, gs_int rows)
{
    __m512i both = _mm512_setr_epi32(0x100000, 0x110001, 0x120002, 0x130003, 0x140004, 0x150005, 0x160006, 0x170007, 0x180008, 0x190009,
                                     0x1a000a, 0x1b000b, 0x1c000c, 0x1d000d, 0x1e000e, 0x1f000f);
    __m512 low = rows > 0 ? NAME(some)(from, count) : _mm512_setzero_ps();
    __m512 high = rows > 1 ? NAME(some)(from + stride, count) : _mm512_setzero_ps();
    return _mm512_permutexvar_epi16(both, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

/* Sixteen rows of sixteen pairs become sixteen columns. */
GS_INLINE void NAME(transpose)(__m512i r[16])
{
    __m512i t[16];
    UNROLLED for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    UNROLLED for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    UNROLLED for (int i = 0; i < 4; ++i) { /* quarters of r[i], r[4 + i], r[8 + i], r[12 + i] */
        __m512i a = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88), b = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88);
        __m512i c = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd), d = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
        t[i] = _mm512_shuffle_i32x4(a, b, 0x88);
        t[8 + i] = _mm512_shuffle_i32x4(a, b, 0xdd);
        t[4 + i] = _mm512_shuffle_i32x4(c, d, 0x88);
        t[12 + i] = _mm512_shuffle_i32x4(c, d, 0xdd);
    }
    UNROLLED for (int i = 0; i < 16; ++i) r[i] = t[i];
}

static void NAME(pack_panel)(gs_int K, gs_int columns, gs_int width, const REAL *B, gs_int brs, gs_int bcs, ITEM *P)
{
    gs_int depth = NAME(depth)(K);
    if (bcs == 1) { /* rows in order: two of them become one of pairs */
        for (gs_int q = 0; q < depth; ++q)
            for (gs_int j = 0; j < width; j += 16)
                _mm512_storeu_si512(P + q * width + j, NAME(rows_as_pairs)(B + 2 * q * brs + j, brs, columns - j, K - 2 * q));
        return;
    }
    for (gs_int q = 0; q < depth; q += 16)
        for (gs_int j = 0; j < width; j += 16) {
            __m512i square[16];
            for (gs_int i = 0; i < 16; ++i)
                square[i] = j + i < columns ? NAME(pairs)(B + 2 * q * brs + (j + i) * bcs, brs, K - 2 * q) : _mm512_setzero_si512();
            NAME(transpose)(square);
            for (gs_int k = 0; k < gs_min(16, depth - q); ++k) _mm512_storeu_si512(P + (q + k) * width + j, square[k]);
        }
}

/* Rows of pairs, whichever way A lies. */
static const ITEM *NAME(left)(gs_int M, gs_int K, const REAL *A, gs_int ars, gs_int acs, ITEM *block, gs_int *rs, gs_int *cs)
{
    gs_int depth = NAME(depth)(K);
    *rs = depth, *cs = 1;
    for (gs_int i = 0; i < M; i += 16)
        for (gs_int q = 0; q < depth; q += 16) {
            const REAL *from = A + i * ars + 2 * q * acs;
            gs_int rows = gs_min(16, M - i), terms = K - 2 * q;
            __mmask16 kept = depth - q >= 16 ? 0xffff : (__mmask16)((1u << (depth - q)) - 1);
            __m512i square[16];
            if (ars == 1) { /* sixteen numbers of each column are read in order, and turned */
                for (gs_int k = 0; k < 16; ++k) square[k] = NAME(rows_as_pairs)(from + 2 * k * acs, acs, rows, terms - 2 * k);
                NAME(transpose)(square);
            } else
                for (gs_int r = 0; r < rows; ++r) square[r] = NAME(pairs)(from + r * ars, acs, terms);
            for (gs_int r = 0; r < rows; ++r) _mm512_mask_storeu_epi32(block + (i + r) * depth + q, kept, square[r]);
        }
    return block;
}

#if STRIDE > 1
/* Whether the system lets this process use tiles, and GRAPHSPEC_AMX is not 0: asked once. */
static int may_use_tiles(void)
{
    enum { REQUEST = 0x1023, TILE_DATA = 18, UNKNOWN = 0, YES, NO }; /* of arch_prctl(2) */
    static int answer;
    int known = __atomic_load_n(&answer, __ATOMIC_RELAXED);
    if (known == UNKNOWN) {
        const char *asked = getenv("GRAPHSPEC_AMX");
        known = (!asked || strcmp(asked, "0")) && syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0 ? YES : NO;
        __atomic_store_n(&answer, known, __ATOMIC_RELAXED);
    }
    return known == YES;
}

/* So many rows go to each tile of A and of sums: as equal heights as can be, up to 16, since a tile takes as long as it has rows. */
static gs_int NAME(height)(gs_int M)
{
    gs_int pairs = (M + 31) / 32;
    return (M + 2 * pairs - 1) / (2 * pairs);
}

/* Tiles are registers of a thread: four hold sums, two rows of A, two sixteen rows of a panel.  They are given back after each product, since a
   thread that holds some is slower to be exchanged for another. */
static void NAME(begin)(gs_int M)
{
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } shape = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {0}};
    if (!may_use_tiles()) return;
    for (int i = 0; i < 8; ++i) shape.rows[i] = i < 6 ? (uint8_t)NAME(height)(M) : 16;
    __asm__ volatile("" ::"m"(shape)); /* some compilers see only its first bytes read */
    _tile_loadconfig(&shape);
}

static void NAME(end)(void)
{
    if (may_use_tiles()) _tile_release();
}

/* 16 by 16 sums go to C, as far as it reaches. */
static void put(const REAL sums[16][16], REAL *C, gs_int crs, gs_int rows, gs_int columns, int add)
{
    __mmask16 kept = (__mmask16)((1u << columns) - 1);
    for (gs_int i = 0; i < rows; ++i) {
        __m512 row = _mm512_load_ps(sums[i]);
        if (add) row = _mm512_add_ps(row, _mm512_maskz_loadu_ps(kept, C + i * crs));
        _mm512_mask_storeu_ps(C + i * crs, kept, row);
    }
}

/* All rows times one panel: up to 32 by 32 sums in four tiles, while two tiles of A and two of the panel come and go. */
static int NAME(whole)(gs_int M, gs_int depth, const ITEM *A, gs_int ars, const ITEM *P, REAL *C, gs_int crs, gs_int columns, int add)
{
    if (!may_use_tiles()) return 0;
    gs_int width = NAME(wide)(columns), high = NAME(height)(M);
    __asm__ volatile("" ::: "memory"); /* loading a tile is no use of memory to some compilers: what is written, is written by now */
    for (gs_int i = 0; i < M; i += 2 * high) {
        gs_int rows = gs_min(2 * high, M - i), whole = rows == 2 * high && columns == 32;
        const ITEM *a = A + i * ars, *p = P;
        REAL sums[4][16][16] __attribute__((aligned(64))), *to = C + i * crs;
        for (gs_int r = 0; r < rows; ++r) {
            __builtin_prefetch(to + r * crs, 1); /* it is on its way while the sums are made */
            __builtin_prefetch(to + r * crs + columns - 1, 1);
        }
        if (whole && add) {
            _tile_loadd(0, to, crs * 4);
            _tile_loadd(1, to + 16, crs * 4);
            _tile_loadd(2, to + high * crs, crs * 4);
            _tile_loadd(3, to + high * crs + 16, crs * 4);
        } else {
            _tile_zero(0);
            _tile_zero(1);
            _tile_zero(2);
            _tile_zero(3);
        }
        for (gs_int q = 0; q < depth; q += 16, a += 16, p += 16 * width) {
            _tile_loadd(4, a, ars * 4);
            _tile_loadd(6, p, width * 4);
            _tile_dpbf16ps(0, 4, 6);
            if (columns > 16) {
                _tile_loadd(7, p + 16, width * 4);
                _tile_dpbf16ps(1, 4, 7);
            }
            if (rows > high) {
                _tile_loadd(5, a + high * ars, ars * 4);
                _tile_dpbf16ps(2, 5, 6);
            }
            if (columns > 16 && rows > high) _tile_dpbf16ps(3, 5, 7);
        }
        if (whole) {
            _tile_stored(0, to, crs * 4);
            _tile_stored(1, to + 16, crs * 4);
            _tile_stored(2, to + high * crs, crs * 4);
            _tile_stored(3, to + high * crs + 16, crs * 4);
            continue;
        }
        _tile_stored(0, sums[0], 64);
        _tile_stored(1, sums[1], 64);
        _tile_stored(2, sums[2], 64);
        _tile_stored(3, sums[3], 64);
        for (gs_int t = 0; t < 4; ++t) {
            gs_int m = t / 2 * high, n = t % 2 * 16;
            if (m < rows && n < columns) put(sums[t], to + m * crs + n, crs, gs_min(high, rows - m), gs_min(16, columns - n), add);
        }
    }
    return 1;
}
#endif

/* What is too little to be packed is multiplied in float32. */
static int NAME(small)(gs_int M, gs_int N, gs_int K, const REAL *A, gs_int ars, gs_int acs, const REAL *B, gs_int brs, gs_int bcs, REAL *C,
                       gs_int crs, int add, gs_int all)
{
    if (all > 1 && N * K > 1024) return 0;
    gs_gemm_f32(M, N, K, A, ars, acs, B, brs, bcs, C, crs, 1, add, all);
    return 1;
}

static gs_int NAME(inner)(gs_int M, gs_int N, gs_int K, gs_int ars, gs_int acs, gs_int brs, gs_int bcs)
{
    gs_int rows = NAME(padded)(gs_min(NAME(HEIGHT), M)), packed = rows * NAME(depth)(K) * (gs_int)sizeof(ITEM);
    return gs_max(gs_max(NAME(blocks)(N, K), packed), gs_scratch_f32(M, N, K, ars, acs, brs, bcs, N, 1));
}

static void NAME(large)(gs_int M, gs_int N, gs_int K, const REAL *A, gs_int ars, gs_int acs, const REAL *B, gs_int brs, gs_int bcs, REAL *C,
                        gs_int crs, int add)
{
    NAME(shared)(M, N, K, A, ars, acs, B, brs, bcs, C, crs, add);
}
