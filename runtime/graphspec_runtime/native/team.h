/* The team of threads.

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

/* Between one look at what is waited for and the next one: actively while looks are few, then the processor is left to others. */
static void rest(int looks, int few)
{
    if (looks < few)
        pause_a_little();
    else
        sched_yield();
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
    for (int i = 0; __atomic_load_n(&team.left, __ATOMIC_ACQUIRE); ++i) rest(i, SPINS);
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
    for (int i = 0; __atomic_load_n(&team.meetings, __ATOMIC_ACQUIRE) == meeting; ++i) rest(i, FEW_SPINS);
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
