/*
 * Snapshots: their bytes, and their file. When one is written, and by whom, is snapshot_uv.c's.
 */
#include "manager/snapshot.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "ipc/queue.h"

#define MAGIC "MPSSNAP1"
enum { MAGIC_SIZE = 8, HEAD = MAGIC_SIZE + 8 + SHA256_DIGEST_SIZE };

static bool is_kept(const struct object *o)
{
	return o->flags != 0 && o->name != NULL &&
	       (o->served != NULL || (o->shared != NULL && o->shared->queue != NULL));
}

static struct mps_queue *queue_of(struct object *o)
{
	return o->shared != NULL && o->shared->queue != NULL && object_open(o) == 0
		       ? o->shared->queue(o->self)
		       : NULL;
}

/* ---------------------------------------------------------------------------------------------------- writing */

struct queued {
	struct buf items;
	size_t n;
};

static int add_item(void *user, const void *p, size_t n)
{
	struct queued *q = user;

	/* Others can write to this memory: what is no value is not kept. */
	if (value_check(p, n) < 0)
		return 0;
	buf_add(&q->items, p, n);
	q->n++;
	return q->items.failed ? -ENOMEM : 0;
}

static int put_queue(struct object *o, struct buf *to)
{
	msgpack_packer k = value_packer(to);
	struct mps_queue *q = queue_of(o);
	struct queued all = { 0 };
	struct mps_queue_options options;
	uint64_t version;
	int r;

	if (q == NULL)
		return -EIO;
	version = queue_version(q);
	r = queue_each(q, add_item, &all);
	if (r == 0) {
		options = queue_options(q);
		msgpack_pack_array(&k, 2);
		msgpack_pack_uint32(&k, options.max_items);
		msgpack_pack_uint64(&k, options.ring_size);
		msgpack_pack_array(&k, all.n);
		buf_add(to, all.items.p, all.items.len);
		o->saved = version;
	}
	buf_fini(&all.items);
	return r;
}

static void put_text(msgpack_packer *k, const char *text)
{
	msgpack_pack_str(k, strlen(text));
	msgpack_pack_str_body(k, text, strlen(text));
}

static int put_object(struct object *o, struct buf *to)
{
	msgpack_packer k = value_packer(to);

	msgpack_pack_array(&k, 4);
	put_text(&k, o->type->name);
	put_text(&k, o->name);
	if (o->served == NULL)
		return put_queue(o, to);
	o->served->save(o->self, to);
	return msgpack_pack_nil(&k);
}

static void put_head(struct buf *to)
{
	uint64_t length = htole64(to->len - HEAD);
	struct sha256_ctx c;

	memcpy(to->p, MAGIC, MAGIC_SIZE);
	memcpy(to->p + MAGIC_SIZE, &length, sizeof(length));
	sha256_init(&c);
	sha256_update(&c, to->len - HEAD, (uint8_t *)to->p + HEAD);
	sha256_digest(&c, SHA256_DIGEST_SIZE, (uint8_t *)to->p + MAGIC_SIZE + 8);
}

int snapshot_encode(struct server *v, struct buf *to)
{
	msgpack_packer k = value_packer(to);
	char head[HEAD] = "";
	size_t n = 0;
	int r = 0;

	for (struct object *o = v->objects; o != NULL; o = o->next)
		n += is_kept(o);
	buf_add(to, head, sizeof(head));
	msgpack_pack_array(&k, n);
	for (struct object *o = v->objects; o != NULL && r == 0 && !to->failed; o = o->next)
		if (is_kept(o))
			r = put_object(o, to);
	if (to->failed)
		return -ENOMEM;
	if (r == 0)
		put_head(to);
	return r;
}

bool snapshot_is_stale(struct server *v)
{
	for (struct object *o = v->objects; o != NULL; o = o->next) {
		struct mps_queue *q = is_kept(o) ? queue_of(o) : NULL;

		if (q != NULL && queue_version(q) != o->saved)
			return true;
	}
	return false;
}

/* ---------------------------------------------------------------------------------------------------- reading */

static int fill_queue(struct object *o, const void *items, size_t n)
{
	struct mps_queue *q = queue_of(o);
	struct values v;
	int r = q == NULL ? -EIO : values_of_array(items, n, &v);

	while (r == 0 && v.n > 0) {
		const void *p;
		size_t len;

		r = value_skip(&v, &p, &len);
		if (r == 0)
			r = mps_queue_put(q, p, len, 0);
	}
	if (r == 0)
		o->saved = queue_version(q);
	return r;
}

static int make_object(struct server *v, struct values *from)
{
	struct value head, type;
	const char *name;
	size_t n_name;
	const struct mps_type *t;
	const void *args, *contents;
	size_t n_args, n_contents;
	struct object *o;
	int r;

	if (value_next(from, &head) < 0 || head.kind != VALUE_ARRAY || head.n != 4 ||
	    value_next(from, &type) < 0 || type.kind != VALUE_STR ||
	    object_read_name(from, false, &name, &n_name) < 0 ||
	    value_skip(from, &args, &n_args) < 0 || value_skip(from, &contents, &n_contents) < 0)
		return -EBADMSG;
	t = type_find(type.p, type.n);
	if (t == NULL || object_find(v, name, n_name) != NULL)
		return -EBADMSG;
	r = object_new(v, NULL, t, name, n_name, MPS_OBJECT_KEEP, args, n_args, &o);
	if (r < 0)
		return r;
	if (o->shared != NULL)
		r = fill_queue(o, contents, n_contents);
	object_unref(v, o);
	return r;
}

/* What the head promises is what is there. */
static bool is_whole(const uint8_t *p, size_t n)
{
	uint8_t digest[SHA256_DIGEST_SIZE];
	struct sha256_ctx c;
	uint64_t length;

	if (n < HEAD || memcmp(p, MAGIC, MAGIC_SIZE) != 0)
		return false;
	memcpy(&length, p + MAGIC_SIZE, sizeof(length));
	if (le64toh(length) != n - HEAD)
		return false;
	sha256_init(&c);
	sha256_update(&c, n - HEAD, p + HEAD);
	sha256_digest(&c, sizeof(digest), digest);
	return memcmp(digest, p + MAGIC_SIZE + 8, sizeof(digest)) == 0;
}

/* Those that are ours stand before the others, and nobody else has one. */
static void forget(struct server *v, const struct object *first_of_others, bool had_changed)
{
	while (v->objects != first_of_others)
		object_remove(v, v->objects);
	v->changed = had_changed;
}

int snapshot_decode(struct server *v, const void *p, size_t n, struct err *err)
{
	const struct object *first = v->objects;
	bool had_changed = v->changed;
	struct values from;
	struct value all;
	int r = 0;

	if (!is_whole(p, n))
		return err_set(err, -EBADMSG, "this is no snapshot, or a damaged one");
	from = (struct values){ (const uint8_t *)p + HEAD, n - HEAD };
	if (value_next(&from, &all) < 0 || all.kind != VALUE_ARRAY)
		r = -EBADMSG;
	for (size_t i = 0; r == 0 && i < all.n; i++)
		r = make_object(v, &from);
	if (r == 0 && from.n > 0)
		r = -EBADMSG;
	if (r == 0)
		return 0;
	forget(v, first, had_changed);
	return err_set(err, r, "an object in it cannot be made: %s", strerror(-r));
}

/* ---------------------------------------------------------------------------------------------------- the file */

static int sync_folder(const char *path)
{
	const char *slash = strrchr(path, '/');
	AUTO_FREE char *folder =
		slash == NULL ? strdup(".") : strndup(path, (size_t)(slash - path) + 1);
	AUTO_CLOSE int fd = folder == NULL ? -1 : open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int write_file(const char *path, const void *p, size_t n)
{
	AUTO_CLOSE int fd = -1;
	int r;

	unlink(path); /* of one that was killed, or somebody else's, who would have what we write */
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	r = fd_write_all(fd, p, n);
	return r == 0 && fsync(fd) < 0 ? -errno : r;
}

int snapshot_write(const char *path, const void *p, size_t n, struct err *err)
{
	AUTO_FREE char *other = NULL;
	int r;

	if (asprintf(&other, "%s.new", path) < 0) {
		other = NULL;
		return -ENOMEM;
	}
	r = write_file(other, p, n);
	if (r == 0 && rename(other, path) < 0)
		r = -errno;
	if (r == 0)
		r = sync_folder(path);
	if (r < 0) {
		unlink(other);
		err_set(err, r, "snapshot %s: %s", path, strerror(-r));
	}
	return r;
}
