/* What gemm.h leaves open for products of float32 in bf16: panels hold pairs of numbers rounded to bf16 (to the nearest, ties to even),
   pairs are multiplied and added to sums in float32.  For processors with AVX-512 BF16. */

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
        __m512i both = _mm512_setr_epi32(0x100000, 0x110001, 0x120002, 0x130003, 0x140004, 0x150005, 0x160006, 0x170007, 0x180008, 0x190009,
                                         0x1a000a, 0x1b000b, 0x1c000c, 0x1d000d, 0x1e000e, 0x1f000f);
        for (gs_int q = 0; q < depth; ++q) {
            const REAL *row = B + 2 * q * brs;
            gs_int second = 2 * q + 1 < K;
            for (gs_int j = 0; j < width; j += 16) {
                __m512 low = NAME(some)(row + j, columns - j), high = second ? NAME(some)(row + brs + j, columns - j) : _mm512_setzero_ps();
                _mm512_storeu_si512(P + q * width + j, _mm512_permutexvar_epi16(both, (__m512i)_mm512_cvtne2ps_pbh(high, low)));
            }
        }
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

static const ITEM *NAME(left)(gs_int M, gs_int K, const REAL *A, gs_int ars, gs_int acs, ITEM *block, gs_int *rs, gs_int *cs)
{
    gs_int depth = NAME(depth)(K), height = (M + 15) / 16 * 16;
    if (acs != 1) { /* as a panel of its transpose */
        *rs = 1, *cs = height;
        NAME(pack_panel)(K, M, height, A, acs, ars, block);
        return block;
    }
    *rs = depth, *cs = 1;
    for (gs_int i = 0; i < M; ++i)
        for (gs_int q = 0; q < depth; q += 16)
            _mm512_mask_storeu_epi32(block + i * depth + q, depth - q >= 16 ? 0xffff : (1u << (depth - q)) - 1,
                                     NAME(pairs)(A + i * ars + 2 * q, 1, K - 2 * q));
    return block;
}

/* What is too little to be packed is multiplied in float32, whatever M is: threads take different parts of the rows, and all find the same. */
static int NAME(small)(gs_int M, gs_int N, gs_int K, const REAL *A, gs_int ars, gs_int acs, const REAL *B, gs_int brs, gs_int bcs, REAL *C,
                       gs_int crs, int add)
{
    if (M > 1 && N * K > 1024) return 0;
    gs_gemm_f32(M, N, K, A, ars, acs, B, brs, bcs, C, crs, 1, add);
    return 1;
}

static gs_int NAME(inner)(gs_int M, gs_int N, gs_int K, gs_int ars, gs_int acs, gs_int brs, gs_int bcs)
{
    gs_int rows = (gs_min(NAME(HEIGHT), M) + 15) / 16 * 16, packed = rows * NAME(depth)(K) * (gs_int)sizeof(ITEM);
    return gs_max(gs_max(NAME(blocks)(N, K), packed), gs_scratch_f32(M, N, K, ars, acs, brs, bcs, N, 1));
}

static void NAME(large)(gs_int M, gs_int N, gs_int K, const REAL *A, gs_int ars, gs_int acs, const REAL *B, gs_int brs, gs_int bcs, REAL *C,
                        gs_int crs, int add)
{
    NAME(shared)(M, N, K, A, ars, acs, B, brs, bcs, C, crs, add);
}
