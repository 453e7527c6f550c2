/* Memory that kernels work in: a workspace for each thread, and what is packed for a loop. */

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

/* This thread's; NULL where it has none and there is no memory for one. */
static workspace *own_workspace(void)
{
    pthread_once(&workspace_once, make_key);
    workspace *held = pthread_getspecific(workspace_key);
    if (!held && (held = calloc(1, sizeof(workspace))) && pthread_setspecific(workspace_key, held)) {
        free(held);
        held = NULL;
    }
    return held;
}

enum { PAGE = 4096, HUGE_PAGE = 1 << 21 };

/* Fresh memory, aligned to a cache line at least; in huge pages where there is much of it and the system has them, so that weights that are read
   once a step do not wait for where their pages are. */
static void *fresh(gs_int bytes)
{
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (bytes >= 2 * HUGE_PAGE) {
        bytes = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
        void *memory = aligned_alloc(HUGE_PAGE, (size_t)bytes);
        if (memory) madvise(memory, (size_t)bytes, MADV_HUGEPAGE);
        return memory;
    }
#endif
    return aligned_alloc(64, (size_t)((bytes + PAGE - 1) / PAGE * PAGE));
}

/* Whether a workspace has so many bytes, now.  It keeps what it has where there are no more: others may count on that. */
static int grown(workspace *held, gs_int bytes)
{
    if (held->bytes >= bytes) return 1;
    void *larger = fresh(bytes);
    if (!larger) return 0;
    free(held->memory);
    held->memory = larger;
    held->bytes = bytes;
    return 1;
}

/* So many bytes of what was prepared, aligned to a cache line, until the thread's next call. */
void *gs_workspace(gs_int bytes)
{
    workspace *held = own_workspace();
    if (!held || held->bytes < bytes) abort(); /* a plan that does not know what it needs */
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
        found = fresh(bytes + LINE);
        if (!found) return NULL;
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
