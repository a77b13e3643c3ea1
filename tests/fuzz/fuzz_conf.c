/*
 * A whole configuration from any text: what comes of it is complete, whatever the messages say. Texts that would
 * read other files or make very many processes are left out.
 */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "conf/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct conf *conf)
{
	for (size_t i = 0; i < conf->n_procs; i++) {
		const struct conf_proc *p = &conf->procs[i];

		assert(p->name && *p->name && p->group && *p->group && p->program && p->command);
		assert((p->argv != NULL) != (p->argv_error != NULL));
		assert(p->argv == NULL || p->argv[0]);
		assert(p->environment && p->place.file && p->place.line > 0);
		assert((p->out.kind == CONF_LOG_FILE) == (p->out.path != NULL));
	}
	for (size_t i = 0; i < conf->n_messages; i++)
		assert(*conf->messages[i].text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[40], *identifier = NULL;
	struct err err = ERR_INIT;
	struct conf *conf;
	int fd;

	if (memmem(data, size, "include", 7) || memmem(data, size, "0000", 4))
		return 0;
	fd = memfd_create("fuzz", MFD_CLOEXEC);
	if (fd < 0 || fd_write_all(fd, data, size) < 0)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	conf = conf_load(path, &(struct conf_options){ .strict = size % 2 });
	check(conf);
	conf_free(conf);
	if (conf_peek_identifier(path, false, &identifier, &err) == 0)
		free(identifier);
	close(fd);
	return 0;
}
