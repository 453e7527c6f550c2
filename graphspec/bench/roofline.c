/* What a machine can do at most: floating point operations a second, and bytes a second to and from memory and cache.

   roofline THREADS CACHE_BYTES
   prints: peak (FLOP/s), dram (bytes/s), cache (bytes/s), each the sum over the threads.

   Time is each thread's own processor time, so that what else the machine does is not counted; of several tries the best is told. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#if defined(__AVX512F__)
#define WIDTH 16
#elif defined(__AVX__)
#define WIDTH 8
#else
#define WIDTH 4
#endif
#define CHAINS 10 /* independent sums: enough to fill two units of a latency of 4 or 5, few enough for 16 registers */
#define ALL(f) f(s0) f(s1) f(s2) f(s3) f(s4) f(s5) f(s6) f(s7) f(s8) f(s9)
#define ONE(s) s = s * a + b;
#define TRIES 7

typedef float lanes __attribute__((vector_size(WIDTH * sizeof(float))));

static long cache_floats;
static pthread_barrier_t together;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

/* Operations a second of fused multiply-adds whose operands lie in registers. */
static double peak(void) {
  const long turns = 4000000;
  double best = 0;
  for (int attempt = 0; attempt < TRIES; attempt++) {
    lanes a, b;
    for (int i = 0; i < WIDTH; i++) a[i] = 0.999f, b[i] = 1e-3f;
    lanes s0 = b, s1 = b, s2 = b, s3 = b, s4 = b, s5 = b, s6 = b, s7 = b, s8 = b, s9 = b;
    double start = now();
    for (long t = 0; t < turns; t++) {
      ALL(ONE)
    }
    double end = now();
    __asm__ volatile("" : : "m"(s0), "m"(s1), "m"(s2), "m"(s3), "m"(s4), "m"(s5), "m"(s6), "m"(s7), "m"(s8), "m"(s9));
    double rate = 2.0 * turns * CHAINS * WIDTH / (end - start);
    if (rate > best) best = rate;
  }
  return best;
}

/* Bytes a second of x += s * y: two read and one written for each element. */
static double bandwidth(float *x, const float *y, long n, long turns) {
  double best = 0;
  for (int attempt = 0; attempt < TRIES; attempt++) {
    pthread_barrier_wait(&together);
    double start = now();
    for (long t = 0; t < turns; t++) {
      for (long i = 0; i < n; i++) x[i] += 1e-9f * y[i];
      __asm__ volatile("" : : "r"(x), "r"(y) : "memory");
    }
    double rate = 12.0 * n * turns / (now() - start);
    if (rate > best) best = rate;
  }
  return best;
}

static void *measure(void *into) {
  double *found = into;
  const long large = 1L << 25; /* floats, twice 128 MiB a thread */
  float *x = aligned_alloc(64, large * sizeof(float)), *y = aligned_alloc(64, large * sizeof(float));
  if (!x || !y) exit(1);
  for (long i = 0; i < large; i++) x[i] = y[i] = 1;
  found[0] = peak();
  found[1] = bandwidth(x, y, large, 1);
  long small = cache_floats < large ? cache_floats : large;
  found[2] = bandwidth(x, y, small, 1 + large / small);
  free(x);
  free(y);
  return NULL;
}

int main(int count, char **words) {
  int threads = count > 1 ? atoi(words[1]) : 1;
  cache_floats = (count > 2 ? atol(words[2]) : 1L << 23) / threads / 4 / 2 / sizeof(float) / 16 * 16; /* both arrays: a quarter of it */
  if (threads < 1 || cache_floats < 64) return 2;
  pthread_t *ids = calloc(threads, sizeof *ids);
  double(*found)[3] = calloc(threads, sizeof *found), total[3] = {0};
  pthread_barrier_init(&together, NULL, threads);
  for (int i = 1; i < threads; i++) pthread_create(&ids[i], NULL, measure, found[i]);
  measure(found[0]);
  for (int i = 0; i < threads; i++) {
    if (i) pthread_join(ids[i], NULL);
    for (int k = 0; k < 3; k++) total[k] += found[i][k];
  }
  printf("%.6g %.6g %.6g\n", total[0], total[1], total[2]);
  return 0;
}
