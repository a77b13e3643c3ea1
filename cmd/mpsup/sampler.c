/*
 * Samples many processes. See sampler.h. The thread is started only once there is enough to do for it.
 */
#include "mpsup/sampler.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/xalloc.h"
#include "mpsup/usage.h"

#define BATCH 64

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
	size_t n, cap, done;
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

/* A copy of the next batch, since the list moves while it grows. 0 = no more will come. */
static size_t take(struct sampler *s, struct sample batch[BATCH])
{
	size_t n;

	while (s->done == s->n && !s->complete)
		pthread_cond_wait(&s->more, &s->lock);
	n = s->n - s->done < BATCH ? s->n - s->done : BATCH;
	for (size_t i = 0; i < n; i++)
		batch[i] = s->list[s->done + i];
	return n;
}

static void *work(void *arg)
{
	struct sampler *s = arg;
	struct sample batch[BATCH];
	size_t n;

	pthread_mutex_lock(&s->lock);
	while ((n = take(s, batch)) > 0) {
		pthread_mutex_unlock(&s->lock);
		sample(batch, n);
		pthread_mutex_lock(&s->lock);
		for (size_t i = 0; i < n; i++)
			s->list[s->done + i] = batch[i];
		s->done += n;
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

void sampler_add(struct sampler *s, pid_t pid)
{
	pthread_mutex_lock(&s->lock);
	if (s->n == s->cap) {
		s->cap = s->cap ? s->cap * 2 : 2 * BATCH;
		s->list = xrealloc(s->list, s->cap * sizeof(*s->list));
	}
	s->list[s->n++] = (struct sample){ .pid = pid };
	if (s->threaded && s->n % BATCH == 0)
		pthread_cond_signal(&s->more);
	pthread_mutex_unlock(&s->lock);
	if (!s->threaded && s->n >= 2 * BATCH)
		s->threaded = pthread_create(&s->thread, NULL, work, s) == 0;
}

void sampler_finish(struct sampler *s)
{
	pthread_mutex_lock(&s->lock);
	s->complete = true;
	pthread_cond_signal(&s->more);
	pthread_mutex_unlock(&s->lock);
	if (s->threaded)
		pthread_join(s->thread, NULL);
	else
		sample(s->list, s->n);
	s->threaded = false;
	s->done = s->n;
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
