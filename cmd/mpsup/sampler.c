/*
 * Samples many processes. See sampler.h. The thread is started only once there is enough to do for it.
 */
#include "mpsup/sampler.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/xalloc.h"
#include "mpsup/usage.h"

#define BATCH 32

struct sample {
	pid_t pid;
	bool ok;
	struct usage usage;
};

struct sampler {
	pthread_mutex_t lock;
	pthread_cond_t more;
	pthread_t thread;
	bool threaded;
	/* Below: under the lock while the thread runs. */
	struct sample *list;
	size_t n, cap;
	size_t next; /* the first that nobody has taken */
	bool complete;
};

struct sampler *sampler_new(void)
{
	struct sampler *s = xcalloc(1, sizeof(*s));

	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->more, NULL);
	return s;
}

static void sample(struct sample *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		list[i].ok = list[i].pid > 0 && usage_read(list[i].pid, &list[i].usage) == 0;
}

/* Takes a batch, samples a copy of it without the lock, since the list moves while it grows, and puts it back. */
static void sample_batch(struct sampler *s)
{
	struct sample batch[BATCH];
	size_t at = s->next, n = s->n - at < BATCH ? s->n - at : BATCH;

	memcpy(batch, s->list + at, n * sizeof(batch[0]));
	s->next += n;
	pthread_mutex_unlock(&s->lock);
	sample(batch, n);
	pthread_mutex_lock(&s->lock);
	memcpy(s->list + at, batch, n * sizeof(batch[0]));
}

static void *work(void *arg)
{
	struct sampler *s = arg;

	pthread_mutex_lock(&s->lock);
	while (s->next < s->n || !s->complete) {
		if (s->next < s->n)
			sample_batch(s);
		else
			pthread_cond_wait(&s->more, &s->lock);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

void sampler_add(struct sampler *s, pid_t pid)
{
	pthread_mutex_lock(&s->lock);
	if (s->n == s->cap) {
		s->cap = s->cap ? s->cap * 2 : 4 * BATCH;
		s->list = xrealloc(s->list, s->cap * sizeof(*s->list));
	}
	s->list[s->n++] = (struct sample){ .pid = pid };
	if (s->threaded && s->n % BATCH == 0)
		pthread_cond_signal(&s->more);
	pthread_mutex_unlock(&s->lock);
	if (!s->threaded && s->n >= 4 * BATCH)
		s->threaded = pthread_create(&s->thread, NULL, work, s) == 0;
}

/* Who waits helps: reading the answer is done, and /proc may be behind. */
void sampler_finish(struct sampler *s)
{
	pthread_mutex_lock(&s->lock);
	s->complete = true;
	pthread_cond_signal(&s->more);
	while (s->next < s->n)
		sample_batch(s);
	pthread_mutex_unlock(&s->lock);
	if (s->threaded)
		pthread_join(s->thread, NULL);
	s->threaded = false;
}

const struct usage *sampler_get(const struct sampler *s, size_t i)
{
	return s->list[i].ok ? &s->list[i].usage : NULL;
}

void sampler_free(struct sampler *s)
{
	if (s == NULL)
		return;
	if (s->threaded)
		sampler_finish(s);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->more);
	free(s->list);
	free(s);
}
